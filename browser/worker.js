// The worker: it trains, while the page stays responsive. Messages come in as { do, ... } and go out
// as { is, ... }. One worker plays the game with faces, another one that in two dimensions.
"use strict";

const CHUNK = 30;  // milliseconds of training between two looks at the messages
const VIEW = 300;  // milliseconds from one view to the next, at least; more if views are slow
const channel = new MessageChannel();
let game = null, training = false, milliseconds = 0, lastView = 0, viewCost = 0;
let numbers = newNumbers(), recent = [];

function newNumbers() {
  return { lossD: [], lossG: [], scoreReal: [] };
}

// The game with faces: 64 generated ones are shown, with their variety and color distance.
class FacesGame {
  constructor({ images, ...settings }) {
    this.images = images;
    this.settings = settings;
    this.real = null;
    this.checkpoint = null;
    freeTensors();
    const { width, seed } = settings;
    this.trainer = new Trainer(images, { width, seed });
  }

  step() {
    const { rate, useR1, broken } = this.settings;
    const factors = broken ? { factorG: 10, factorD: 0.1, useR1: false } : { useR1 };
    return this.trainer.step({ rate, ...factors });
  }

  // Collapse on purpose. The checkpoint before it is kept, for the way back.
  breakIt() {
    this.checkpoint = this.trainer.state();
    this.settings.broken = true;
  }

  recover() {
    this.trainer.loadState(this.checkpoint);
    this.settings.broken = false;
  }

  view() {
    const faces = this.trainer.fixedFaces(this.settings.useEma), count = 64;
    const small = thumbnails(faces, count);
    this.real ??= this.measureReal();
    return {
      faces: Uint8ClampedArray.from(faces, value => 127.5 * (value + 1)),
      distance: colorDistance(colorStatistics(small, count), this.real.statistics),
      variety: variety(small, count),
      realDistance: this.real.distance,
      realVariety: this.real.variety,
    };
  }

  // The color statistics of 1,024 real faces. For comparison, 64 others: what no G can do better.
  measureReal() {
    const count = 1024 + 64, bytes = this.images.subarray(0, count * 32 * 32 * 3);
    const small = thumbnails(Float32Array.from(bytes, byte => byte / 127.5 - 1), count);
    const others = small.slice(1024 * small.length / count);
    const statistics = colorStatistics(small.slice(0, small.length - others.length), 1024);
    return {
      statistics,
      distance: colorDistance(colorStatistics(others, 64), statistics),
      variety: variety(others, 64),
    };
  }
}

class PointsGame {
  constructor(settings) {
    this.settings = settings;
    this.checkpoint = null;
    freeTensors();
    this.trainer = new PointsTrainer({ seed: settings.seed });
    this.fresh = this.trainer.state();
  }

  // A trained D would keep the points apart, so that the game is broken from its beginning.
  breakIt() {
    this.checkpoint = this.trainer.state();
    this.trainer.loadState(this.fresh);
    this.settings.broken = true;
  }

  recover() {
    this.trainer.loadState(this.checkpoint);
    this.settings.broken = false;
  }

  step() {
    const { rateG, rateD, broken } = this.settings;
    if (broken) return this.trainer.step({ rateG: 10 * rateG, rateD: 0.1 * rateD });
    return this.trainer.step({ rateG, rateD });
  }

  view() {
    return this.trainer.view();
  }
}

function takeStep() {
  const { lossD, lossG, scoreReal } = game.step();
  numbers.lossD.push(lossD);
  numbers.lossG.push(lossG);
  numbers.scoreReal.push(scoreReal);
}

// Train for a moment, then let messages in. `setTimeout` would wait for 4 ms each time.
function train() {
  if (!training) return;
  const start = performance.now(), first = game.trainer.stepsDone;
  while (performance.now() - start < CHUNK) takeStep();
  const took = performance.now() - start;
  milliseconds += took;
  recent.push([game.trainer.stepsDone - first, took]);
  if (recent.length > 60) recent.shift();
  if (performance.now() - lastView > Math.min(3000, Math.max(VIEW, 5 * viewCost))) sendView();
  channel.port2.postMessage(null);
}
channel.port1.onmessage = train;

function sendView() {
  const start = performance.now(), view = game.view();
  viewCost = performance.now() - start;
  if (training) milliseconds += viewCost;
  lastView = performance.now();
  const steps = recent.reduce((sum, [count]) => sum + count, 0);
  const time = recent.reduce((sum, [, took]) => sum + took, 0);
  postMessage({
    is: "view", run: game.settings.run, isBroken: Boolean(game.settings.broken),
    step: game.trainer.stepsDone, seconds: milliseconds / 1000,
    ...numbers, ...view,
    stepsPerSecond: time ? 1000 * steps / time : 0,
  });
  numbers = newNumbers();
}

function pause() {
  if (!training) return;
  training = false;
  sendView();
}

const actions = {
  async start({ kernel, kind, ...settings }) {
    const isFast = await useKernel(kernel);
    postMessage({ is: "engine", isFast });
    this.reset = changes => {
      pause();
      milliseconds = 0;
      recent = [];
      numbers = newNumbers();
      Object.assign(settings, changes);
      game = kind === "faces" ? new FacesGame(settings) : new PointsGame(settings);
      sendView();
    };
    this.reset();
  },
  set(changes) {
    Object.assign(game.settings, changes);
  },
  look() {
    sendView();
  },
  train() {
    if (training) return;
    training = true;
    channel.port2.postMessage(null);
  },
  pause,
  step() {
    pause();
    const start = performance.now();
    takeStep();
    milliseconds += performance.now() - start;
    sendView();
  },
  breakIt() {
    game.breakIt();
    postMessage({ is: "broken", run: game.settings.run, step: game.trainer.stepsDone });
  },
  recover() {
    game.recover();
    sendView();
  },
};

// An error of an async action reaches the page's `onerror` only if it is thrown again.
onmessage = async ({ data: { do: name, ...rest } }) => {
  try {
    await actions[name](rest);
  } catch (error) {
    setTimeout(() => { throw error; });
  }
};
