// Numbers that say more about the faces than the losses do. Both compare small versions of faces.
"use strict";

// `count` faces (32 x 32 x 3, in [-1, 1]) -> thumbnails of `side` x `side`, one after the other.
function thumbnails(faces, count, size = 32, side = 8) {
  const block = size / side, out = new Float32Array(count * side * side * 3);
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        const from = ((n * size + i) * size + j) * 3;
        const to = ((n * side + Math.floor(i / block)) * side + Math.floor(j / block)) * 3;
        for (let c = 0; c < 3; c++) out[to + c] += faces[from + c] / block ** 2;
      }
    }
  }
  return out;
}

// Thumbnails -> for each of their numbers the mean and the standard deviation over all faces.
function colorStatistics(small, count) {
  const length = small.length / count, statistics = new Float32Array(2 * length);
  for (let i = 0; i < length; i++) {
    let sum = 0, squares = 0;
    for (let n = 0; n < count; n++) {
      sum += small[n * length + i];
      squares += small[n * length + i] ** 2;
    }
    statistics[i] = sum / count;
    statistics[length + i] = Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2));
  }
  return statistics;
}

// Root mean square difference of the color statistics of two sets of faces. Lower is better.
function colorDistance(statistics, others) {
  let sum = 0;
  for (let i = 0; i < statistics.length; i++) sum += (statistics[i] - others[i]) ** 2;
  return Math.sqrt(sum / statistics.length);
}

// The median distance of a face to the one most like it, as a root mean square difference. It falls
// toward 0 when all faces become alike: mode collapse.
function variety(small, count) {
  const length = small.length / count, nearest = new Float32Array(count).fill(Infinity);
  for (let n = 0; n < count; n++) {
    for (let m = 0; m < n; m++) {
      let sum = 0;
      for (let i = 0; i < length; i++) sum += (small[n * length + i] - small[m * length + i]) ** 2;
      nearest[n] = Math.min(nearest[n], sum / length);
      nearest[m] = Math.min(nearest[m], sum / length);
    }
  }
  return Math.sqrt(nearest.sort()[count >> 1]);
}
