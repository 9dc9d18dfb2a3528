;; What takes the most time in engine.js, on four 32-bit numbers at once (SIMD).
(module
  (import "engine" "memory" (memory 1))

  ;; out += a * b for matrices, four rows by eight columns of out at a time.
  ;;
  ;; a is m x k with any strides (in bytes), so that it can also be read transposed. b is k x n and
  ;; out is m x n, row after row. m must be a multiple of 4, n of 8. The sum over k is taken in
  ;; parts of 256, so that the part of a and b in use stays in the processor's cache.
  (func (export "matmul")
    (param $m i32) (param $n i32) (param $k i32)
    (param $a i32) (param $aRow i32) (param $aColumn i32) (param $b i32) (param $out i32)
    (local $bRow i32) (local $aRow2 i32) (local $aRow3 i32)
    (local $part i32) (local $i i32) (local $j i32) (local $left i32)
    (local $aPart i32) (local $aTile i32) (local $outRow i32) (local $to i32)
    (local $x i32) (local $y i32)
    (local $b0 v128) (local $b1 v128) (local $value v128)
    (local $c00 v128) (local $c01 v128) (local $c10 v128) (local $c11 v128)
    (local $c20 v128) (local $c21 v128) (local $c30 v128) (local $c31 v128)
    (local.set $bRow (i32.shl (local.get $n) (i32.const 2)))
    (local.set $aRow2 (i32.shl (local.get $aRow) (i32.const 1)))
    (local.set $aRow3 (i32.add (local.get $aRow2) (local.get $aRow)))
    (local.set $aPart (local.get $a))
    (loop $parts
      (local.set $part (select (i32.const 256) (local.get $k)
        (i32.gt_s (local.get $k) (i32.const 256))))
      (local.set $aTile (local.get $aPart))
      (local.set $outRow (local.get $out))
      (local.set $i (local.get $m))
      (loop $rows
        (local.set $j (i32.const 0))
        (loop $columns
          ;; the tile of out, as it was
          (local.set $to (i32.add (local.get $outRow) (local.get $j)))
          (local.set $c00 (v128.load (local.get $to)))
          (local.set $c01 (v128.load offset=16 (local.get $to)))
          (local.set $to (i32.add (local.get $to) (local.get $bRow)))
          (local.set $c10 (v128.load (local.get $to)))
          (local.set $c11 (v128.load offset=16 (local.get $to)))
          (local.set $to (i32.add (local.get $to) (local.get $bRow)))
          (local.set $c20 (v128.load (local.get $to)))
          (local.set $c21 (v128.load offset=16 (local.get $to)))
          (local.set $to (i32.add (local.get $to) (local.get $bRow)))
          (local.set $c30 (v128.load (local.get $to)))
          (local.set $c31 (v128.load offset=16 (local.get $to)))
          (local.set $x (local.get $aTile))
          (local.set $y (i32.add (local.get $b) (local.get $j)))
          (local.set $left (local.get $part))
          (loop $sum
            (local.set $b0 (v128.load (local.get $y)))
            (local.set $b1 (v128.load offset=16 (local.get $y)))
            (local.set $value (v128.load32_splat (local.get $x)))
            (local.set $c00 (f32x4.add (local.get $c00) (f32x4.mul (local.get $value) (local.get $b0))))
            (local.set $c01 (f32x4.add (local.get $c01) (f32x4.mul (local.get $value) (local.get $b1))))
            (local.set $value (v128.load32_splat (i32.add (local.get $x) (local.get $aRow))))
            (local.set $c10 (f32x4.add (local.get $c10) (f32x4.mul (local.get $value) (local.get $b0))))
            (local.set $c11 (f32x4.add (local.get $c11) (f32x4.mul (local.get $value) (local.get $b1))))
            (local.set $value (v128.load32_splat (i32.add (local.get $x) (local.get $aRow2))))
            (local.set $c20 (f32x4.add (local.get $c20) (f32x4.mul (local.get $value) (local.get $b0))))
            (local.set $c21 (f32x4.add (local.get $c21) (f32x4.mul (local.get $value) (local.get $b1))))
            (local.set $value (v128.load32_splat (i32.add (local.get $x) (local.get $aRow3))))
            (local.set $c30 (f32x4.add (local.get $c30) (f32x4.mul (local.get $value) (local.get $b0))))
            (local.set $c31 (f32x4.add (local.get $c31) (f32x4.mul (local.get $value) (local.get $b1))))
            (local.set $x (i32.add (local.get $x) (local.get $aColumn)))
            (local.set $y (i32.add (local.get $y) (local.get $bRow)))
            (br_if $sum (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
          ;; the tile of out, with the products added
          (v128.store (local.get $to) (local.get $c30))
          (v128.store offset=16 (local.get $to) (local.get $c31))
          (local.set $to (i32.sub (local.get $to) (local.get $bRow)))
          (v128.store (local.get $to) (local.get $c20))
          (v128.store offset=16 (local.get $to) (local.get $c21))
          (local.set $to (i32.sub (local.get $to) (local.get $bRow)))
          (v128.store (local.get $to) (local.get $c10))
          (v128.store offset=16 (local.get $to) (local.get $c11))
          (local.set $to (i32.sub (local.get $to) (local.get $bRow)))
          (v128.store (local.get $to) (local.get $c00))
          (v128.store offset=16 (local.get $to) (local.get $c01))
          (br_if $columns (i32.lt_s
            (local.tee $j (i32.add (local.get $j) (i32.const 32))) (local.get $bRow))))
        (local.set $aTile (i32.add (local.get $aTile) (i32.shl (local.get $aRow) (i32.const 2))))
        (local.set $outRow (i32.add (local.get $outRow) (i32.shl (local.get $bRow) (i32.const 2))))
        (br_if $rows (local.tee $i (i32.sub (local.get $i) (i32.const 4)))))
      (local.set $aPart (i32.add (local.get $aPart)
        (i32.mul (local.get $part) (local.get $aColumn))))
      (local.set $b (i32.add (local.get $b) (i32.mul (local.get $part) (local.get $bRow))))
      (br_if $parts (local.tee $k (i32.sub (local.get $k) (local.get $part))))))
  ;; The rows of 4x4 windows: see `windows` in engine.js. Lengths are in bytes from here on. A run is
  ;; four pixels, so that it is a multiple of four numbers whatever the channels.
  (func (export "windows")
    (param $padded i32) (param $columns i32) (param $count i32) (param $wide i32)
    (param $outSide i32) (param $channels i32) (param $stride i32) (param $back i32)
    (local $run i32) (local $nextRow i32) (local $nextWindow i32)
    (local $i i32) (local $j i32) (local $first i32) (local $window i32) (local $row i32)
    (local $rows i32) (local $t i32) (local $x i32)
    (local.set $run (i32.shl (local.get $channels) (i32.const 4)))
    (local.set $nextRow (i32.shl (i32.mul (local.get $wide) (local.get $channels)) (i32.const 2)))
    (local.set $nextWindow
      (i32.shl (i32.mul (local.get $stride) (local.get $channels)) (i32.const 2)))
    (loop $images
      (local.set $first (local.get $padded))
      (local.set $i (local.get $outSide))
      (loop $down
        (local.set $window (local.get $first))
        (local.set $j (local.get $outSide))
        (loop $right
          (local.set $row (local.get $window))
          (local.set $rows (i32.const 4))
          (loop $kernelRows
            (local.set $x (local.get $row))
            (local.set $t (local.get $run))
            (if (local.get $back)
              (then (loop $add
                (v128.store (local.get $x)
                  (f32x4.add (v128.load (local.get $x)) (v128.load (local.get $columns))))
                (local.set $x (i32.add (local.get $x) (i32.const 16)))
                (local.set $columns (i32.add (local.get $columns) (i32.const 16)))
                (br_if $add (local.tee $t (i32.sub (local.get $t) (i32.const 16))))))
              (else (loop $copy
                (v128.store (local.get $columns) (v128.load (local.get $x)))
                (local.set $x (i32.add (local.get $x) (i32.const 16)))
                (local.set $columns (i32.add (local.get $columns) (i32.const 16)))
                (br_if $copy (local.tee $t (i32.sub (local.get $t) (i32.const 16)))))))
            (local.set $row (i32.add (local.get $row) (local.get $nextRow)))
            (br_if $kernelRows (local.tee $rows (i32.sub (local.get $rows) (i32.const 1)))))
          (local.set $window (i32.add (local.get $window) (local.get $nextWindow)))
          (br_if $right (local.tee $j (i32.sub (local.get $j) (i32.const 1)))))
        (local.set $first
          (i32.add (local.get $first) (i32.mul (local.get $stride) (local.get $nextRow))))
        (br_if $down (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (local.set $padded
        (i32.add (local.get $padded) (i32.mul (local.get $wide) (local.get $nextRow))))
      (br_if $images (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))
  ;; y = x where x > 0, else slope * x. `slopes` keeps which of the two: 1 or slope.
  (func (export "leakyRelu")
    (param $x i32) (param $slopes i32) (param $y i32) (param $bytes i32) (param $slope f32)
    (local $value v128) (local $factor v128) (local $low v128) (local $end i32)
    (local.set $low (f32x4.splat (local.get $slope)))
    (local.set $end (i32.add (local.get $x) (local.get $bytes)))
    (loop $all
      (local.set $value (v128.load (local.get $x)))
      (local.set $factor (v128.bitselect
        (v128.const f32x4 1 1 1 1) (local.get $low)
        (f32x4.gt (local.get $value) (v128.const f32x4 0 0 0 0))))
      (v128.store (local.get $slopes) (local.get $factor))
      (v128.store (local.get $y) (f32x4.mul (local.get $value) (local.get $factor)))
      (local.set $slopes (i32.add (local.get $slopes) (i32.const 16)))
      (local.set $y (i32.add (local.get $y) (i32.const 16)))
      (br_if $all (i32.lt_u
        (local.tee $x (i32.add (local.get $x) (i32.const 16))) (local.get $end))))))
