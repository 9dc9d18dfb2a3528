// The page: buttons, sliders, images and curves for two workers that train.
"use strict";

const get = id => document.getElementById(id);
// For tests and measurements, such as train.html#engine=plain&seed=3&width=16
const options = new URLSearchParams(location.hash.slice(1));
const seed = Number(options.get("seed")) || 0;
const kernel = options.get("engine") === "plain" ? null : decode(KERNEL);

function decode(base64) {
  return Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
}

function makeWorker() {
  const parts = [get("engine").textContent, get("worker").textContent];
  return new Worker(URL.createObjectURL(new Blob(parts, { type: "text/javascript" })));
}

// ---- What both games share: the buttons, the numbers, the curves ---------------------------------

class Game {
  constructor(id, kind) {
    this.panel = get(id);
    this.kind = kind;
    this.worker = makeWorker();
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = error => this.say(`Training has stopped: ${error.message}`, true);
    this.isReady = false;
    this.isTraining = false;
    this.run = 0;  // counts resets
    this.forget();
    for (const name of ["train", "step", "reset", "break"]) {
      this.find(name).onclick = () => this[name]();
    }
    this.undecided = Math.LN2;
  }

  find(name) {
    return this.panel.querySelector(`.${name}`);
  }

  send(name, rest = {}, transfer = []) {
    this.worker.postMessage({ do: name, ...rest }, transfer);
  }

  say(text, isWarning = false) {
    const status = this.find("status");
    if (status.textContent !== text) status.textContent = text;  // said once by a screen reader
    status.classList.toggle("warning", isWarning);
  }

  change() {
    const settings = this.settings();
    if (this.isReady) this.send("set", settings);
  }

  start(settings, transfer) {
    this.send("start", { kind: this.kind, kernel, seed, run: this.run, ...settings }, transfer);
  }

  forget() {
    this.lossD = [];
    this.lossG = [];
    this.scoreReal = [];
    this.broken = [];  // [first step, last step], where it was broken on purpose
    this.last = null;
  }

  get isBroken() {
    return this.broken.length > 0 && this.broken.at(-1)[1] === null;
  }

  receive(data) {
    if (data.is === "engine") {
      showEngine(data.isFast);
      this.isReady = true;
      this.send("set", this.settings());
      for (const control of this.panel.querySelectorAll(":disabled")) control.disabled = false;
      return;
    }
    if (data.run !== this.run) return;  // from before a reset
    if (data.is === "broken") {
      this.broken.at(-1)[0] = data.step;  // the worker had gone on since its last view
      return;
    }
    this.lossD.push(...data.lossD);
    this.lossG.push(...data.lossG);
    this.scoreReal.push(...data.scoreReal);
    this.last = data;
    this.show(data);
    this.draw();
  }

  show({ step, seconds, stepsPerSecond }) {
    this.find("at-step").textContent = thousands(step);
    this.find("at-time").textContent = `${Math.round(seconds)} s`;
    this.find("at-rate").textContent = stepsPerSecond ? stepsPerSecond.toPrecision(3) : "-";
  }

  draw() {
    if (this.panel.hidden) return;
    drawCurves(this.find("curves"), {
      series: [
        { name: "D's loss", color: "--d", values: this.lossD },
        { name: "G's loss", color: "--g", values: this.lossG },
      ],
      undecided: this.undecided,
      broken: this.broken,
    });
  }

  train() {
    this.isTraining = !this.isTraining;
    this.send(this.isTraining ? "train" : "pause");
    this.find("train").textContent = this.isTraining ? "Pause" : "Train";
    if (!this.isBroken) {
      this.say(this.isTraining ? "Training." : "Paused.");
    }
  }

  pause() {
    if (this.isTraining) this.train();
  }

  step() {
    this.pause();
    this.send("step");
    if (!this.isBroken) this.say("One step: D's turn, then G's turn.");
  }

  reset(changes = {}) {
    this.pause();
    this.forget();
    this.run += 1;
    this.send("reset", { ...this.settings(), ...changes, broken: false, run: this.run });
    this.find("break").textContent = "Break it";
    this.warned = false;
    this.say("New networks with random weights. Press Train.");
  }

  break() {
    if (this.isBroken) {
      this.broken.at(-1)[1] = this.lossD.length;
      this.send("recover");
      this.find("break").textContent = "Break it";
      this.warned = false;
      this.say(`Recovered: the weights of step ${thousands(this.broken.at(-1)[0])} are back, and the`
        + " settings, too.");
      return;
    }
    this.broken.push([this.lossD.length, null]);
    this.send("breakIt");
    this.find("break").textContent = "Recover";
    this.say(this.breakMessage);
    if (!this.isTraining) this.train();
  }
}

// A slider of powers of ten -> its value, shown beside it.
function rateOf(slider) {
  const rate = 10 ** slider.value;
  const text = rate.toPrecision(2);
  get(`${slider.id}-at`).textContent = text;
  slider.setAttribute("aria-valuetext", text);
  return rate;
}

// ---- Faces ---------------------------------------------------------------------------------------

const SIZE = 32, FACE = SIZE * SIZE * 3, COLUMNS = 6;
const MOST_FRAMES = 240;  // of the film; then every second frame is dropped

class FacesGame extends Game {
  constructor() {
    super("faces", "faces");
    this.breakMessage = "Broken on purpose: G learns ten times as fast, D ten times as slowly, without R1."
      + " Watch the variety fall.";
    get("film").oninput = () => this.showFrame();
    get("rate").oninput = () => this.change();
    get("r1").onchange = () => this.change();
    get("ema").onchange = () => {
      this.change();
      if (this.isReady && !this.isTraining) this.send("look");
    };
    get("width").onchange = () => this.reset({ width: Number(get("width").value) });
    if (["8", "16"].includes(options.get("width"))) get("width").value = options.get("width");
  }

  settings() {
    return { rate: rateOf(get("rate")), useR1: get("r1").checked, useEma: get("ema").checked };
  }

  change() {
    super.change();
    get("which").textContent = get("ema").checked ? "by G_ema" : "by G";
  }

  // -> a note if the browser changes pixels, or "".
  async load() {
    const { images, note } = await readSheets();
    drawFaces(get("real"), images);
    get("which").textContent = "by G_ema";
    const width = Number(get("width").value);
    this.start({ images, width, ...this.settings() }, [images.buffer]);
    return note;
  }

  forget() {
    super.forget();
    this.film = [];
    this.every = 1;  // views for each frame of the film
    this.views = 0;
    get("film").max = get("film").value = 0;
    get("at-score").textContent = "-";
  }

  show(data) {
    super.show(data);
    const { scoreReal, distance, variety, faces, step } = data;
    if (scoreReal.length) {
      const percent = Math.round(100 * average(this.scoreReal.slice(-50)));
      get("at-score").textContent = `${percent} %`;
    }
    get("at-distance").textContent = distance.toFixed(3);
    get("at-variety").textContent = variety.toFixed(2);
    get("floor").textContent = `64 real faces: ${data.realDistance.toFixed(3)}`;
    get("variety-note").textContent =
      `distance to the face most alike; 64 real faces: ${data.realVariety.toFixed(2)}`;
    this.warn(data);
    this.addFrame(step, faces);
  }

  warn({ variety, realVariety, step, isBroken }) {
    if (isBroken !== this.isBroken) return;  // sent before "Break it" or "Recover" was pressed
    const isAlike = variety < 0.25 * realVariety, recovered = this.broken.at(-1)?.[1] ?? 0;
    const losses = this.lossD.slice(Math.max(recovered, this.lossD.length - 50));
    if (losses.some(loss => !Number.isFinite(loss))) {
      this.say("Warning: a loss is not finite. Reset, or recover, and try a lower learning rate.", true);
    } else if (isAlike && step >= 300) {
      this.say("Warning: mode collapse. The faces are alike."
        + (this.isBroken ? " Press Recover." : " Reset, or lower the learning rate."), true);
    } else if (this.warned) {
      this.say(this.isBroken ? this.breakMessage : this.isTraining ? "Training." : "Paused.");
    }
    this.warned = this.find("status").textContent.startsWith("Warning");
  }

  // Follow the newest frame, unless an earlier one has been chosen.
  addFrame(step, faces) {
    const slider = get("film"), follows = Number(slider.value) >= Number(slider.max);
    const small = faces.slice(0, COLUMNS ** 2 * FACE), newest = this.film.at(-1);
    const isSame = newest && newest.step === step;  // the same step again, such as with G_ema off
    const isTemporary = isSame ? newest.isTemporary : this.views++ % this.every !== 0;
    if (newest && (isSame || newest.isTemporary)) this.film.pop();
    this.film.push({ step, faces: small, isTemporary });
    const chosen = this.film[slider.value]?.step;
    if (this.film.length > MOST_FRAMES) {
      this.film = this.film.filter((_, i) => i % 2 === 0 || i === this.film.length - 1);
      this.every *= 2;
    }
    slider.max = this.film.length - 1;
    slider.value = follows ? slider.max : this.film.findIndex(({ step }) => step >= chosen);
    this.showFrame();
  }

  showFrame() {
    const slider = get("film"), frame = this.film[slider.value];
    if (!frame) return;
    const isNewest = slider.value === slider.max;
    const text = `step ${thousands(frame.step)}${isNewest ? "" : ", earlier"}`;
    get("film-at").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    get("generated").setAttribute("aria-label", `36 generated faces at ${text}`);
    drawFaces(get("generated"), frame.faces);
  }
}

const average = values => values.reduce((sum, value) => sum + value, 0) / values.length;

// The faces of the page's sheets -> (count, 32, 32, 3) bytes, and a note if they are not intact.
async function readSheets() {
  const { count, columns, sum } = FACES, images = new Uint8Array(count * FACE);
  let n = 0, total = 0;
  for (const sheet of document.querySelectorAll("#sheets img")) {
    await sheet.decode();
    const canvas = document.createElement("canvas");
    canvas.width = sheet.naturalWidth;
    canvas.height = sheet.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(sheet, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < columns * canvas.height / SIZE; i++, n++) {
      const left = i % columns * SIZE, top = Math.floor(i / columns) * SIZE;
      for (let pixel = 0; pixel < SIZE * SIZE; pixel++) {
        const from = ((top + (pixel >> 5)) * canvas.width + left + (pixel & 31)) * 4;
        for (let c = 0; c < 3; c++) total += images[n * FACE + 3 * pixel + c] = data[from + c];
      }
    }
  }
  const note = "This browser changes the pixels of images for your privacy, so the faces may look odd.";
  return { images, note: total === sum ? "" : note };
}

function drawFaces(canvas, faces) {
  canvas.width = canvas.height = COLUMNS * SIZE;
  const image = new ImageData(canvas.width, canvas.height);
  image.data.fill(255);
  for (let n = 0, at = 0; n < COLUMNS ** 2; n++) {
    const left = n % COLUMNS * SIZE, top = Math.floor(n / COLUMNS) * SIZE;
    for (let pixel = 0; pixel < SIZE * SIZE; pixel++) {
      const to = ((top + (pixel >> 5)) * canvas.width + left + (pixel & 31)) * 4;
      for (let c = 0; c < 3; c++) image.data[to + c] = faces[at++];
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// ---- Points --------------------------------------------------------------------------------------

class PointsGame extends Game {
  constructor() {
    super("points", "points");
    this.undecided = 2 * Math.LN2;
    this.breakMessage = "Broken on purpose: new networks; G learns ten times as fast, D ten times as slowly.";
    for (const id of ["rate-g", "rate-d"]) get(id).oninput = () => this.change();
    this.start(this.settings());
  }

  settings() {
    return { rateG: rateOf(get("rate-g")), rateD: rateOf(get("rate-d")) };
  }

  show(data) {
    super.show(data);
    get("at-clusters").textContent = `${data.clusters} of 8`;
    get("plane").setAttribute("aria-label",
      `Eight clusters of real points, and G's points, which reach ${data.clusters} of them`);
    if (this.isBroken && data.isBroken && data.clusters <= 1 && data.step > 20) {
      this.say("Warning: mode collapse. G's points lie together in one place. Press Recover.", true);
    }
  }

  draw() {
    super.draw();
    if (!this.panel.hidden && this.last) drawPlane(get("plane"), this.last);
  }
}

// ---- Tabs, and the start -------------------------------------------------------------------------

const tabs = [get("tab-faces"), get("tab-points")];
function choose(tab) {
  for (const other of tabs) {
    const isChosen = other === tab;
    other.setAttribute("aria-selected", isChosen);
    other.tabIndex = isChosen ? 0 : -1;
    get(other.getAttribute("aria-controls")).hidden = !isChosen;
  }
  redraw();
}
for (const tab of tabs) {
  tab.onclick = () => choose(tab);
  tab.onkeydown = event => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = tabs.find(each => each !== tab);
    choose(other);
    other.focus();
  };
}

function showEngine(isFast) {
  get("engine-note").textContent = isFast
    ? "On this device it uses WebAssembly with SIMD." : "On this device it uses plain JavaScript.";
}

function redraw() {
  for (const game of [faces, points]) {
    if (game.last) game.draw();
  }
}
const faces = new FacesGame(), points = new PointsGame();
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
faces.load().then(note => {
  faces.say(note ? `${note} Press Train.` : "Ready. Press Train.", Boolean(note));
  get("ready-note").textContent = `It was ready after ${Math.round(performance.now())} ms.`;
}, error => faces.say(`The faces can't be read: ${error.message}`, true));
