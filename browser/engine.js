// A GAN in plain JavaScript: the layers, their gradients, Adam and the training step.
//
// The names are those of animegan_helpers. Tensors are flat Float32Arrays. Images and features are
// stored image by image and pixel by pixel, all channels of a pixel together: (N, H, W, C). Weights
// are stored so that a layer is one matrix product; `browser/README.md` has their shapes.
"use strict";

// ---- Memory and the matrix product ---------------------------------------------------------------

// With the WebAssembly kernel all tensors lie in one memory that the kernel can read. Without it
// (`heap` is null) they are ordinary arrays, and JavaScript multiplies.
let heap = null;
const HEAP_BYTES = 96 * 2 ** 20;

// The bytes of kernel.wasm -> whether the browser can run them. Without bytes: JavaScript.
async function useKernel(bytes) {
  heap = null;
  if (!bytes) return false;
  try {
    const memory = new WebAssembly.Memory({ initial: HEAP_BYTES / 65536 });
    const { instance } = await WebAssembly.instantiate(bytes, { engine: { memory } });
    heap = { ...instance.exports, buffer: memory.buffer, used: 0 };
    return true;
  } catch {
    return false;  // no SIMD, or no WebAssembly
  }
}

// Forget all tensors, so that new networks can take their place.
function freeTensors() {
  if (heap) heap.used = 0;
}

// A length -> a tensor of zeros.
function zeros(length) {
  if (!heap || heap.used + 4 * length > heap.buffer.byteLength) return new Float32Array(length);
  const tensor = new Float32Array(heap.buffer, heap.used, length);
  heap.used += Math.ceil(length / 4) * 16;
  return tensor.fill(0);
}

// A layer's buffer, or a longer one if it is too short. What it contains does not matter.
function atLeast(buffer, length) {
  return buffer && buffer.length >= length ? buffer : zeros(length);
}

// Whether the kernel can read and write all of these tensors.
function inHeap(...tensors) {
  return heap !== null && tensors.every(tensor => tensor.buffer === heap.buffer);
}

// out (m x n) += a (m x k) * b (k x n). `aRow` and `aColumn` are the distances between two rows and
// two columns of a: (k, 1) if a is stored row after row, (1, m) to read a transposed matrix.
function matmul(m, n, k, a, aRow, aColumn, b, out) {
  if (inHeap(a, b, out) && m % 4 === 0 && n % 8 === 0) {
    heap.matmul(m, n, k, a.byteOffset, 4 * aRow, 4 * aColumn, b.byteOffset, out.byteOffset);
  } else {
    multiply(m, n, k, a, aRow, aColumn, b, out);
  }
}

// The same in JavaScript: four rows by four columns of `out` at a time, so that each number that is
// read is used four times. The sum is taken in parts that stay in the processor's cache.
function multiply(m, n, k, a, aRow, aColumn, b, out) {
  if (m % 4 || n % 4) return multiplySlowly(m, n, k, a, aRow, aColumn, b, out);
  for (let start = 0; start < k; start += 256) {
    const length = Math.min(256, k - start);
    for (let i = 0; i < m; i += 4) {
      const a0 = i * aRow + start * aColumn, a1 = a0 + aRow, a2 = a1 + aRow, a3 = a2 + aRow;
      for (let j = 0; j < n; j += 4) {
        let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
        let c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0;
        for (let t = 0, x = 0, y = start * n + j; t < length; t++, x += aColumn, y += n) {
          const b0 = b[y], b1 = b[y + 1], b2 = b[y + 2], b3 = b[y + 3];
          let value = a[a0 + x];
          c00 += value * b0; c01 += value * b1; c02 += value * b2; c03 += value * b3;
          value = a[a1 + x];
          c10 += value * b0; c11 += value * b1; c12 += value * b2; c13 += value * b3;
          value = a[a2 + x];
          c20 += value * b0; c21 += value * b1; c22 += value * b2; c23 += value * b3;
          value = a[a3 + x];
          c30 += value * b0; c31 += value * b1; c32 += value * b2; c33 += value * b3;
        }
        const row0 = i * n + j, row1 = row0 + n, row2 = row1 + n, row3 = row2 + n;
        out[row0] += c00; out[row0 + 1] += c01; out[row0 + 2] += c02; out[row0 + 3] += c03;
        out[row1] += c10; out[row1 + 1] += c11; out[row1 + 2] += c12; out[row1 + 3] += c13;
        out[row2] += c20; out[row2 + 1] += c21; out[row2 + 2] += c22; out[row2 + 3] += c23;
        out[row3] += c30; out[row3 + 1] += c31; out[row3 + 2] += c32; out[row3 + 3] += c33;
      }
    }
  }
}

// The definition of the product, for sizes that are no multiples of four.
function multiplySlowly(m, n, k, a, aRow, aColumn, b, out) {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let t = 0; t < k; t++) sum += a[i * aRow + t * aColumn] * b[t * n + j];
      out[i * n + j] += sum;
    }
  }
}

// ---- Random numbers ------------------------------------------------------------------------------

// A seed -> a function that returns numbers from [0, 1): Marsaglia's xorshift with 32 bits, begun
// far from zero. Good enough for latent vectors, not for secrets.
function rng(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b1) || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}

// Fill a tensor with numbers from N(0, 1), times `scale`, plus `mean` (Box and Muller).
function fillNormal(tensor, random, scale = 1, mean = 0) {
  for (let i = 0; i < tensor.length; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    tensor[i] = mean + scale * radius * Math.cos(2 * Math.PI * random());
  }
  return tensor;
}

// ---- Layers: forward, and backward from the gradient of the output to that of the input ----------

// Weights, their gradient, and Adam's means of gradients (moment) and of squares. All have one length.
class Parameter {
  constructor(length) {
    this.value = zeros(length);
    this.gradient = zeros(length);
    this.moment = zeros(length);
    this.squares = zeros(length);
  }
}

function transpose(matrix, rows, columns, into) {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) into[j * rows + i] = matrix[i * columns + j];
  }
  return into;
}

function sumRows(rows, columns, matrix, into) {
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) into[j] += matrix[at];
  }
}

// (N, side, side, C) -> the same with a border of zeros around each image. With `back`: the border
// is cut off again.
function pad(image, padded, count, { side, channels, padding }, back = false) {
  const row = side * channels, wide = side + 2 * padding;
  if (!back) padded.fill(0, 0, count * wide * wide * channels);
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < side; i++) {
      const at = (n * side + i) * row;
      const to = ((n * wide + i + padding) * wide + padding) * channels;
      if (back) {
        for (let t = 0; t < row; t++) image[at + t] = padded[to + t];
      } else {
        for (let t = 0; t < row; t++) padded[to + t] = image[at + t];
      }
    }
  }
}

// Every 4x4 window of a padded image becomes a row of `columns`. With `back` the other way: each
// row is added to the pixels that it came from. `run` is four pixels that lie beside each other.
function windows(padded, columns, count, wide, outSide, channels, stride, back) {
  const run = 4 * channels, nextRow = wide * channels, nextWindow = stride * channels;
  let at = 0;
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < outSide; i++) {
      let window = (n * wide + stride * i) * nextRow;
      for (let j = 0; j < outSide; j++, window += nextWindow) {
        for (let row = window, last = window + 4 * nextRow; row < last; row += nextRow, at += run) {
          if (back) {
            for (let t = 0; t < run; t++) padded[row + t] += columns[at + t];
          } else {
            for (let t = 0; t < run; t++) columns[at + t] = padded[row + t];
          }
        }
      }
    }
  }
}

// An image's windows as rows, and back. A `Windows` keeps the padded image of its layer.
class Windows {
  constructor(side, channels, stride, padding) {
    this.shape = { side, channels, padding };
    this.wide = side + 2 * padding;
    this.stride = stride;
    this.outSide = (this.wide - 4) / stride + 1;
    this.imageLength = side * side * channels;
    this.paddedLength = this.wide ** 2 * channels;
  }

  im2col(image, columns, count) {
    this.padded = atLeast(this.padded, count * this.paddedLength);
    pad(image, this.padded, count, this.shape);
    this.run(columns, count, false);
  }

  col2im(columns, image, count) {
    const length = count * this.paddedLength;
    this.padded = atLeast(this.padded, length).fill(0, 0, length);
    this.run(columns, count, true);
    pad(image, this.padded, count, this.shape, true);
  }

  run(columns, count, back) {
    const { padded, wide, outSide, stride, shape: { channels } } = this;
    if (inHeap(padded, columns)) {
      const [from, to] = [padded.byteOffset, columns.byteOffset];
      heap.windows(from, to, count, wide, outSide, channels, stride, back);
    } else {
      windows(padded, columns, count, wide, outSide, channels, stride, back);
    }
  }
}

// (N, side, side, inputs) -> (N, outSide, outSide, outputs), with a 4x4 kernel.
// Its weight is a matrix (4 * 4 * inputs, outputs).
class Conv2d {
  constructor(side, inputs, outputs, { stride = 2, padding = 1, bias = false } = {}) {
    this.windows = new Windows(side, inputs, stride, padding);
    this.outSide = this.windows.outSide;
    this.fanIn = 16 * inputs;
    this.outputs = outputs;
    this.weight = new Parameter(this.fanIn * outputs);
    this.bias = bias ? new Parameter(outputs) : null;
  }

  forward(x, count, { tangent }) {
    const rows = count * this.outSide ** 2, { fanIn, outputs } = this;
    this.columns = atLeast(this.columns, rows * fanIn);
    this.y = atLeast(this.y, rows * outputs);
    this.windows.im2col(x, this.columns, count);
    this.y.fill(0, 0, rows * outputs);
    if (this.bias && !tangent) {
      for (let i = 0; i < rows; i++) this.y.set(this.bias.value, i * outputs);
    }
    matmul(rows, outputs, fanIn, this.columns, fanIn, 1, this.weight.value, this.y);
    return this.y;
  }

  backward(dy, count, { weights, input, tangent }) {
    const rows = count * this.outSide ** 2, { fanIn, outputs } = this;
    if (weights) {
      matmul(fanIn, outputs, rows, this.columns, 1, fanIn, dy, this.weight.gradient);
      if (this.bias && !tangent) sumRows(rows, outputs, dy, this.bias.gradient);
    }
    if (!input) return null;
    this.transposed = atLeast(this.transposed, fanIn * outputs);
    this.dColumns = atLeast(this.dColumns, rows * fanIn).fill(0, 0, rows * fanIn);
    this.dx = atLeast(this.dx, count * this.windows.imageLength);
    transpose(this.weight.value, fanIn, outputs, this.transposed);
    matmul(rows, fanIn, outputs, dy, outputs, 1, this.transposed, this.dColumns);
    this.windows.col2im(this.dColumns, this.dx, count);
    return this.dx;
  }
}

// (N, side, side, inputs) -> (N, outSide, outSide, outputs): the way back of a convolution.
// Its weight is a matrix (inputs, 4 * 4 * outputs).
class ConvTranspose2d {
  constructor(side, inputs, outputs, { stride = 2, padding = 1 } = {}) {
    const outSide = (side - 1) * stride - 2 * padding + 4;
    this.windows = new Windows(outSide, outputs, stride, padding);
    this.side = side;
    this.inputs = inputs;
    this.fanOut = 16 * outputs;
    this.weight = new Parameter(inputs * this.fanOut);
  }

  forward(x, count) {
    const rows = count * this.side ** 2, { inputs, fanOut } = this;
    this.x = x;
    this.columns = atLeast(this.columns, rows * fanOut).fill(0, 0, rows * fanOut);
    this.y = atLeast(this.y, count * this.windows.imageLength);
    matmul(rows, fanOut, inputs, x, inputs, 1, this.weight.value, this.columns);
    this.windows.col2im(this.columns, this.y, count);
    return this.y;
  }

  backward(dy, count, { weights, input }) {
    const rows = count * this.side ** 2, { inputs, fanOut } = this;
    this.windows.im2col(dy, this.columns, count);
    if (weights) {
      matmul(inputs, fanOut, rows, this.x, 1, inputs, this.columns, this.weight.gradient);
    }
    if (!input) return null;
    this.transposed = atLeast(this.transposed, inputs * fanOut);
    this.dx = atLeast(this.dx, rows * inputs).fill(0, 0, rows * inputs);
    transpose(this.weight.value, inputs, fanOut, this.transposed);
    matmul(rows, inputs, fanOut, this.columns, fanOut, 1, this.transposed, this.dx);
    return this.dx;
  }
}

// Each channel gets mean 0 and variance 1 over the batch, then a learned scale and shift. In eval
// mode (`training` is false) it uses running statistics instead of the batch's own.
class BatchNorm2d {
  constructor(side, channels) {
    this.pixels = side * side;
    this.channels = channels;
    this.weight = new Parameter(channels);
    this.bias = new Parameter(channels);
    this.runningMean = zeros(channels);
    this.runningVar = zeros(channels).fill(1);
    this.momentum = 0.1;
    this.inverse = new Float64Array(channels);  // 1 / standard deviation
  }

  forward(x, count, { training }) {
    const rows = count * this.pixels, { channels } = this;
    this.normalized = atLeast(this.normalized, rows * channels);
    this.y = atLeast(this.y, rows * channels);
    const { inverse, normalized, y } = this, weight = this.weight.value, bias = this.bias.value;
    const mean = training ? this.measure(x, rows) : this.runningMean;
    if (!training) {
      for (let c = 0; c < channels; c++) inverse[c] = 1 / Math.sqrt(this.runningVar[c] + 1e-5);
    }
    for (let i = 0, at = 0; i < rows; i++) {
      for (let c = 0; c < channels; c++, at++) {
        const value = (x[at] - mean[c]) * inverse[c];
        normalized[at] = value;
        y[at] = value * weight[c] + bias[c];
      }
    }
    return y;
  }

  // The batch's mean. Also keeps 1 / its standard deviation, and moves the running statistics.
  measure(x, rows) {
    const { channels } = this, mean = new Float64Array(channels), variance = new Float64Array(channels);
    sumRows(rows, channels, x, mean);
    for (let c = 0; c < channels; c++) mean[c] /= rows;
    for (let i = 0, at = 0; i < rows; i++) {
      for (let c = 0; c < channels; c++, at++) variance[c] += (x[at] - mean[c]) * (x[at] - mean[c]);
    }
    for (let c = 0; c < channels; c++) {
      this.inverse[c] = 1 / Math.sqrt(variance[c] / rows + 1e-5);
      this.runningMean[c] += this.momentum * (mean[c] - this.runningMean[c]);
      this.runningVar[c] += this.momentum * (variance[c] / (rows - 1) - this.runningVar[c]);
    }
    return mean;
  }

  backward(dy, count, { weights }) {
    const rows = count * this.pixels, { channels, normalized } = this;
    const sum = new Float64Array(channels), product = new Float64Array(channels);
    for (let i = 0, at = 0; i < rows; i++) {
      for (let c = 0; c < channels; c++, at++) {
        sum[c] += dy[at];
        product[c] += dy[at] * normalized[at];
      }
    }
    if (weights) {
      for (let c = 0; c < channels; c++) {
        this.weight.gradient[c] += product[c];
        this.bias.gradient[c] += sum[c];
      }
    }
    this.dx = atLeast(this.dx, rows * channels);
    const { dx, inverse } = this, weight = this.weight.value;
    for (let i = 0, at = 0; i < rows; i++) {
      for (let c = 0; c < channels; c++, at++) {
        const centered = dy[at] - (sum[c] + normalized[at] * product[c]) / rows;
        dx[at] = centered * inverse[c] * weight[c];
      }
    }
    return dx;
  }
}

// `slope` times the value where it is negative; ReLU is the slope 0. With `tangent`, the slopes of
// the last ordinary forward pass are used again.
class LeakyReLU {
  constructor(size, slope = 0.2) {
    this.size = size;
    this.slope = slope;
  }

  forward(x, count, { tangent }) {
    const length = count * this.size;
    this.slopes = atLeast(this.slopes, length);
    this.y = atLeast(this.y, length);
    const { slope, slopes, y } = this;
    if (tangent) {
      for (let i = 0; i < length; i++) y[i] = x[i] * slopes[i];
    } else if (inHeap(x, slopes, y) && length % 4 === 0) {
      heap.leakyRelu(x.byteOffset, slopes.byteOffset, y.byteOffset, 4 * length, slope);
    } else {
      for (let i = 0; i < length; i++) {
        slopes[i] = slope + (1 - slope) * +(x[i] > 0);  // 1 or slope; `? :` would be slower
        y[i] = x[i] * slopes[i];
      }
    }
    return y;
  }

  backward(dy, count) {
    const length = count * this.size;
    this.dx = atLeast(this.dx, length);
    const { dx, slopes } = this;
    for (let i = 0; i < length; i++) dx[i] = dy[i] * slopes[i];
    return dx;
  }
}

class Tanh {
  constructor(size) {
    this.size = size;
  }

  forward(x, count) {
    const length = count * this.size, y = this.y = atLeast(this.y, length);
    for (let i = 0; i < length; i++) y[i] = 1 - 2 / (Math.exp(2 * x[i]) + 1);  // Math.tanh is slower
    return y;
  }

  backward(dy, count) {
    const length = count * this.size, dx = this.dx = atLeast(this.dx, length), { y } = this;
    for (let i = 0; i < length; i++) dx[i] = dy[i] * (1 - y[i] * y[i]);
    return dx;
  }
}

// (N, inputs) -> (N, outputs). Only the game in two dimensions uses it.
class Linear {
  constructor(inputs, outputs) {
    this.inputs = inputs;
    this.outputs = outputs;
    this.weight = new Parameter(inputs * outputs);
    this.bias = new Parameter(outputs);
  }

  forward(x, count) {
    const { inputs, outputs } = this;
    this.x = x;
    this.y = atLeast(this.y, count * outputs);
    for (let i = 0; i < count; i++) this.y.set(this.bias.value, i * outputs);
    matmul(count, outputs, inputs, x, inputs, 1, this.weight.value, this.y);
    return this.y;
  }

  backward(dy, count, { weights, input }) {
    const { inputs, outputs } = this;
    if (weights) {
      matmul(inputs, outputs, count, this.x, 1, inputs, dy, this.weight.gradient);
      sumRows(count, outputs, dy, this.bias.gradient);
    }
    if (!input) return null;
    this.transposed = atLeast(this.transposed, inputs * outputs);
    this.dx = atLeast(this.dx, count * inputs).fill(0, 0, count * inputs);
    transpose(this.weight.value, inputs, outputs, this.transposed);
    matmul(count, inputs, outputs, dy, outputs, 1, this.transposed, this.dx);
    return this.dx;
  }
}

class Sequential {
  constructor(layers) {
    this.layers = layers;
  }

  parameters() {
    return this.layers.flatMap(layer => [layer.weight, layer.bias]).filter(Boolean);
  }

  zeroGrad() {
    for (const { gradient } of this.parameters()) gradient.fill(0);
  }

  forward(x, count, { training = true, tangent = false } = {}) {
    for (const layer of this.layers) x = layer.forward(x, count, { training, tangent });
    return x;
  }

  // The gradient of the output -> that of the input, if `input`. Adds to the gradients of the
  // weights, if `weights`. It belongs to the last forward pass.
  backward(dy, count, { weights = true, input = false, tangent = false } = {}) {
    for (let i = this.layers.length - 1; i >= 0; i--) {
      dy = this.layers[i].backward(dy, count, { weights, input: input || i > 0, tangent });
    }
    return dy;
  }

  copyFrom(other) {
    const theirs = other.parameters();
    this.parameters().forEach(({ value }, i) => value.set(theirs[i].value));
    this.norms().forEach((norm, i) => {
      norm.runningMean.set(other.norms()[i].runningMean);
      norm.runningVar.set(other.norms()[i].runningVar);
    });
  }

  norms() {
    return this.layers.filter(layer => layer instanceof BatchNorm2d);
  }
}

// ---- The two networks ----------------------------------------------------------------------------

// (N, zDim) latent vectors from N(0, 1) -> (N, size, size, 3) images in [-1, 1].
class Generator extends Sequential {
  constructor({ width, zDim, size }, random) {
    let side = 4, channels = width * size / 8;
    const layers = [
      new ConvTranspose2d(1, zDim, channels, { stride: 1, padding: 0 }),  // (N, 4, 4, channels)
      new BatchNorm2d(4, channels),
      new LeakyReLU(16 * channels, 0),
    ];
    while (2 * side < size) {
      layers.push(...up(side, channels, channels / 2));
      side *= 2;
      channels /= 2;
    }
    layers.push(new ConvTranspose2d(side, channels, 3), new Tanh(size * size * 3));
    super(layers);
    initWeights(this, random, () => 0.02);
  }
}

// (N, size, size, 3) images in [-1, 1] -> (N,) logits: above 0 means "real".
class Discriminator extends Sequential {
  constructor({ width, size }, random) {
    let side = size / 2, channels = width;
    const layers = down(size, 3, channels);
    while (side > 4) {
      layers.push(...down(side, channels, 2 * channels));
      side /= 2;
      channels *= 2;
    }
    layers.push(new Conv2d(4, channels, 1, { stride: 1, padding: 0 }));  // (N, 1, 1, 1)
    super(layers);
    initWeights(this, random, layer => Math.sqrt(2 / 1.04 / layer.fanIn));  // He initialization
  }
}

function down(side, inputs, outputs) {
  return [
    new Conv2d(side, inputs, outputs, { bias: true }),
    new LeakyReLU((side / 2) ** 2 * outputs),
  ];
}

function up(side, inputs, outputs) {
  return [
    new ConvTranspose2d(side, inputs, outputs),
    new BatchNorm2d(2 * side, outputs),
    new LeakyReLU((2 * side) ** 2 * outputs, 0),
  ];
}

// Convolutions from N(0, scale), batch-norm scales from N(1, 0.02); all biases stay 0.
function initWeights(network, random, scale) {
  for (const layer of network.layers) {
    if (layer instanceof BatchNorm2d) fillNormal(layer.weight.value, random, 0.02, 1);
    else if (layer.weight) fillNormal(layer.weight.value, random, scale(layer));
  }
}

// ---- Losses --------------------------------------------------------------------------------------

const sigmoid = x => 1 / (1 + Math.exp(-x));
const softplus = x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

// D says which image of a real and fake pair is the real one. Each function returns the loss and
// its gradient with respect to the logits.
const Relativistic = {
  undecided: Math.LN2,

  dLoss(realLogits, fakeLogits) {
    const count = realLogits.length, dReal = zeroLike(realLogits), dFake = zeroLike(fakeLogits);
    let loss = 0;
    for (let i = 0; i < count; i++) {
      const difference = fakeLogits[i] - realLogits[i];
      loss += softplus(difference) / count;
      dFake[i] = sigmoid(difference) / count;
      dReal[i] = -dFake[i];
    }
    return { loss, dReal, dFake };
  },

  gLoss(fakeLogits, realLogits) {
    const count = fakeLogits.length, dFake = zeroLike(fakeLogits);
    let loss = 0;
    for (let i = 0; i < count; i++) {
      const difference = realLogits[i] - fakeLogits[i];
      loss += softplus(difference) / count;
      dFake[i] = -sigmoid(difference) / count;
    }
    return { loss, dFake };
  },

  scores(realLogits, fakeLogits) {
    const correct = mean(realLogits.map((logit, i) => sigmoid(logit - fakeLogits[i])));
    return [correct, 1 - correct];
  },
};

// The non-saturating GAN loss of page 05: D gives "real" the label 1 and "fake" the label 0.
const BCE = {
  undecided: 2 * Math.LN2,

  dLoss(realLogits, fakeLogits) {
    const count = realLogits.length;
    return {
      loss: mean(realLogits.map(logit => softplus(-logit))) + mean(fakeLogits.map(softplus)),
      dReal: realLogits.map(logit => -sigmoid(-logit) / count),
      dFake: fakeLogits.map(logit => sigmoid(logit) / count),
    };
  },

  gLoss(fakeLogits) {
    const count = fakeLogits.length;
    return {
      loss: mean(fakeLogits.map(logit => softplus(-logit))),
      dFake: fakeLogits.map(logit => -sigmoid(-logit) / count),
    };
  },

  scores(realLogits, fakeLogits) {
    return [mean(realLogits.map(sigmoid)), mean(fakeLogits.map(sigmoid))];
  },
};

const zeroLike = tensor => new Float32Array(tensor.length);
const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;

// R1 is the mean squared length of D's gradient g at real images. Adds `weight` times its gradient
// to D's weights, and returns R1. That gradient is a second derivative, but no second derivative is
// needed. |g|^2 changes with the weights as twice the slope of D's logit along a fixed direction g
// does. Between the kinks of LeakyReLU D is linear, so the slope along g is a forward pass of g
// with the same slopes and without biases. An ordinary backward pass then gives its gradient.
function r1Penalty(D, real, count, weight = 1) {
  const ones = kept(D, "ones", count).fill(1);
  D.forward(real, count);
  const gradient = D.backward(ones, count, { weights: false, input: true });
  const slopes = D.forward(gradient, count, { tangent: true });  // |g|^2, one for each image
  const penalty = mean(slopes.slice(0, count));
  ones.fill(2 * weight / count);
  D.backward(ones, count, { tangent: true });
  return penalty;
}

// A tensor that is made once for each network, and then used again.
function kept(network, name, length) {
  network[name] = atLeast(network[name], length);
  return network[name].subarray(0, length);
}

// ---- The step ------------------------------------------------------------------------------------

class Adam {
  constructor(network, [beta1, beta2]) {
    this.network = network;
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.steps = 0;
  }

  step(rate) {
    this.steps += 1;
    const { beta1, beta2 } = this;
    const stepSize = rate / (1 - beta1 ** this.steps);
    const correction = 1 / Math.sqrt(1 - beta2 ** this.steps);
    for (const { value, gradient, moment, squares } of this.network.parameters()) {
      for (let i = 0; i < value.length; i++) {
        const slope = gradient[i];
        moment[i] += (1 - beta1) * (slope - moment[i]);
        squares[i] += (1 - beta2) * (slope * slope - squares[i]);
        value[i] -= stepSize * moment[i] / (Math.sqrt(squares[i]) * correction + 1e-8);
      }
    }
  }
}

// One step of both networks: D learns from real and fake, then G learns from D.
function trainStep(G, D, optG, optD, real, z, count, { loss, rateG, rateD, r1 = 0 }) {
  const fake = G.forward(z, count), size = fake.length / count;  // generated once, used twice

  // D's turn. D has no batch norm, so real and fake images can share one pass.
  const both = kept(D, "both", 2 * real.length);
  both.set(real);
  both.set(fake.subarray(0, real.length), real.length);
  const logits = D.forward(both, 2 * count);
  const realLogits = logits.slice(0, count), fakeLogits = logits.slice(count, 2 * count);
  const { loss: lossD, dReal, dFake } = loss.dLoss(realLogits, fakeLogits);
  const dLogits = kept(D, "dLogits", 2 * count);
  dLogits.set(dReal);
  dLogits.set(dFake, count);
  D.zeroGrad();
  D.backward(dLogits, 2 * count);
  if (r1) r1Penalty(D, real, count, r1);
  optD.step(rateD);

  // G's turn: the gradient flows through D to the fakes, but D does not learn.
  const newLogits = D.forward(fake, count).slice(0, count);
  const turn = loss.gLoss(newLogits, realLogits);
  dLogits.set(turn.dFake);
  const toFake = D.backward(dLogits, count, { weights: false, input: true });
  G.zeroGrad();
  G.backward(toFake, count);
  optG.step(rateG);

  const [scoreReal, scoreFake] = loss.scores(realLogits, fakeLogits);
  return { lossD, lossG: turn.loss, scoreReal, scoreFake };
}

// ---- The trainer ---------------------------------------------------------------------------------

// The default recipe at 32 pixels. The learning rate is that of both networks.
const RECIPE = {
  width: 16, zDim: 32, size: 32, batch: 16, rate: 2e-3, decayStart: 500, r1: 2, r1Every: 8,
  ema: 0.99, betas: [0, 0.99],
};

// All that changes while faces are learned: G, D, G_ema, both optimizers, stepsDone.
class Trainer {
  // images: (count, size, size, 3) as bytes. `width` can be a multiple of 4.
  constructor(images, { seed = 0, ...changes } = {}) {
    this.recipe = { ...RECIPE, ...changes };
    const { size, zDim, batch, betas } = this.recipe;
    this.images = images;
    this.imageLength = size * size * 3;
    const random = rng(seed);
    this.G = new Generator(this.recipe, random);
    this.D = new Discriminator(this.recipe, random);
    this.ema = new Generator(this.recipe, random);  // G_ema
    this.ema.copyFrom(this.G);
    this.shown = new Generator(this.recipe, random);  // a copy, to look at
    this.optG = new Adam(this.G, betas);
    this.optD = new Adam(this.D, betas);
    this.random = rng(seed + 1);
    this.order = Uint32Array.from({ length: images.length / this.imageLength }, (_, i) => i);
    this.position = this.order.length;
    this.real = zeros(batch * this.imageLength);
    this.z = zeros(batch * zDim);
    this.statisticsZ = fillNormal(zeros(4 * 64 * zDim), rng(seed + 2));
    this.fixedZ = fillNormal(zeros(64 * zDim), rng(seed + 3));
    this.stepsDone = 0;
  }

  // The next batch of real images, in [-1, 1]. Each epoch has a new order.
  nextBatch() {
    const { batch } = this.recipe, { order, real, images, imageLength } = this;
    if (this.position + batch > order.length) {
      for (let i = order.length - 1; i > 0; i--) {
        const j = Math.floor(this.random() * (i + 1));
        [order[i], order[j]] = [order[j], order[i]];
      }
      this.position = 0;
    }
    for (let n = 0; n < batch; n++) {
      const from = order[this.position++] * imageLength, to = n * imageLength;
      for (let t = 0; t < imageLength; t++) real[to + t] = images[from + t] / 127.5 - 1;
    }
    return real;
  }

  // One step -> its losses and scores. `options` changes the rates of both networks, and R1.
  step({ rate = this.recipe.rate, factorG = 1, factorD = 1, useR1 = true } = {}) {
    const { recipe, stepsDone } = this;
    if (recipe.decayStart) rate *= Math.sqrt(Math.min(1, recipe.decayStart / (stepsDone + 1)));
    const r1 = useR1 && stepsDone % recipe.r1Every === 0 ? recipe.r1 : 0;
    const real = this.nextBatch(), z = fillNormal(this.z, this.random);
    const numbers = trainStep(
      this.G, this.D, this.optG, this.optD, real, z, recipe.batch,
      { loss: Relativistic, rateG: factorG * rate, rateD: factorD * rate, r1 },
    );
    this.updateEma();
    this.stepsDone += 1;
    return numbers;
  }

  // Move G_ema's weights toward G's: by 1 - ema, early in a run by 10 / (10 + stepsDone).
  updateEma() {
    const share = Math.max(1 - this.recipe.ema, 10 / (10 + this.stepsDone));
    const live = this.G.parameters();
    this.ema.parameters().forEach(({ value }, i) => {
      for (let k = 0; k < value.length; k++) value[k] += share * (live[i].value[k] - value[k]);
    });
  }

  // A copy of the generator to use. Averaged weights need batch-norm statistics of their own,
  // which are measured in the copy, as the mean over four batches of 64.
  emaGenerator(useEma = true) {
    const G = this.shown, length = 64 * this.recipe.zDim;
    G.copyFrom(useEma ? this.ema : this.G);
    if (!useEma) return G;
    for (let i = 0; i < 4; i++) {
      for (const norm of G.norms()) norm.momentum = 1 / (i + 1);
      G.forward(this.statisticsZ.subarray(i * length, (i + 1) * length), 64);
    }
    return G;
  }

  // (64, size, size, 3) faces of the same latent vectors at every step: the film's frames.
  fixedFaces(useEma = true) {
    const faces = this.emaGenerator(useEma).forward(this.fixedZ, 64, { training: false });
    return faces.subarray(0, 64 * this.imageLength);
  }

  // A checkpoint: all weights, batch-norm statistics and Adam's moments. `stepsDone`
  // counts on.
  state() {
    const steps = [this.optG.steps, this.optD.steps];
    return { steps, tensors: this.tensors().map(tensor => tensor.slice()) };
  }

  loadState({ steps, tensors }) {
    [this.optG.steps, this.optD.steps] = steps;
    this.tensors().forEach((tensor, i) => tensor.set(tensors[i]));
  }

  tensors() {
    const networks = [this.G, this.D, this.ema];
    const parts = networks.flatMap(network => network.parameters())
      .flatMap(({ value, moment, squares }) => [value, moment, squares]);
    const statistics = this.G.norms().flatMap(norm => [norm.runningMean, norm.runningVar]);
    return [...parts, ...statistics];
  }
}
