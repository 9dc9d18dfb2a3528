// The game in two dimensions of page 05: real "images" are points in eight clusters on a circle.
"use strict";

const CLUSTERS = 8, PLANE = 3.5, GRID = 61;  // the plane is shown from -3.5 to 3.5, in 61 x 61 points
const POINTS_RECIPE = { batch: 128, rate: 1e-3, betas: [0.5, 0.999] };
const centers = Array.from({ length: CLUSTERS }, (_, i) => {
  const angle = i * 2 * Math.PI / CLUSTERS;
  return [2 * Math.cos(angle), 2 * Math.sin(angle)];
});

// Two numbers become 64 features, twice, and then the outputs. Weights and biases begin uniform
// within 1 / sqrt(inputs), as PyTorch's do.
function smallNetwork(outputs, random) {
  const layers = [
    new Linear(2, 64), new LeakyReLU(64), new Linear(64, 64), new LeakyReLU(64), new Linear(64, outputs),
  ];
  for (const layer of layers) {
    if (!layer.weight) continue;
    const bound = 1 / Math.sqrt(layer.inputs);
    for (const { value } of [layer.weight, layer.bias]) {
      for (let i = 0; i < value.length; i++) value[i] = bound * (2 * random() - 1);
    }
  }
  return new Sequential(layers);
}

class PointsTrainer {
  constructor({ seed = 0 } = {}) {
    const random = rng(seed), { batch, betas } = POINTS_RECIPE;
    this.G = smallNetwork(2, random);
    this.D = smallNetwork(1, random);
    this.optG = new Adam(this.G, betas);
    this.optD = new Adam(this.D, betas);
    this.random = rng(seed + 1);
    this.real = zeros(2 * batch);
    this.z = zeros(2 * batch);
    this.viewZ = fillNormal(zeros(2 * 1000), rng(seed + 2));
    this.viewReal = this.realPoints(zeros(2 * 100), rng(seed + 3)).slice();
    this.plane = zeros(2 * (GRID * GRID + 3));  // three more, for a multiple of four
    for (let i = 0; i < GRID * GRID; i++) {
      this.plane[2 * i] = PLANE * (2 * (i % GRID) / (GRID - 1) - 1);
      this.plane[2 * i + 1] = PLANE * (1 - 2 * Math.floor(i / GRID) / (GRID - 1));
    }
    this.stepsDone = 0;
  }

  // Fill a tensor with points, each near one of the eight centers.
  realPoints(points, random) {
    fillNormal(points, random, 0.1);
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = centers[Math.floor(CLUSTERS * random())];
      points[i] += x;
      points[i + 1] += y;
    }
    return points;
  }

  step({ rateG = POINTS_RECIPE.rate, rateD = POINTS_RECIPE.rate } = {}) {
    const real = this.realPoints(this.real, this.random), z = fillNormal(this.z, this.random);
    const options = { loss: BCE, rateG, rateD };
    this.stepsDone += 1;
    return trainStep(this.G, this.D, this.optG, this.optD, real, z, POINTS_RECIPE.batch, options);
  }

  // What the page draws: D's score in the plane, 1,000 of G's points, and for 40 of them the
  // direction in which D's logit rises.
  view() {
    const scores = Float32Array.from(
      this.D.forward(this.plane, GRID * GRID + 3).subarray(0, GRID * GRID), sigmoid,
    );
    const points = this.G.forward(this.viewZ, 1000).slice(0, 2000);
    const some = kept(this.D, "some", 80);
    some.set(points.subarray(0, 80));
    this.D.forward(some, 40);
    const ones = kept(this.D, "ones", 40).fill(1);
    const arrows = this.D.backward(ones, 40, { weights: false, input: true }).slice(0, 80);
    return { scores, points, arrows, real: this.viewReal, clusters: clustersFound(points) };
  }

  state() {
    const steps = [this.optG.steps, this.optD.steps];
    return { steps, tensors: this.tensors().map(tensor => tensor.slice()) };
  }

  loadState({ steps, tensors }) {
    [this.optG.steps, this.optD.steps] = steps;
    this.tensors().forEach((tensor, i) => tensor.set(tensors[i]));
  }

  tensors() {
    return [this.G, this.D].flatMap(network => network.parameters())
      .flatMap(({ value, moment, squares }) => [value, moment, squares]);
  }
}

// How many clusters have more than 2 % of G's points close to their center.
function clustersFound(points) {
  const near = new Array(CLUSTERS).fill(0);
  for (let i = 0; i < points.length; i += 2) {
    const at = centers.findIndex(([x, y]) => Math.hypot(points[i] - x, points[i + 1] - y) < 0.4);
    if (at >= 0) near[at] += 1;
  }
  return near.filter(count => count > 0.02 * points.length / 2).length;
}
