// browser/page.js and browser/worker.js in Node, without a browser: node page_in_node.mjs SCRIPT [SUM]
//
// The elements of the page and the networks are pretended. SCRIPT is the body of a function of
// `page`, which evaluates a text in the page, and `worker(text, game)`, the same in the worker of
// one of the games. After each text the messages arrive. What SCRIPT returns is printed as JSON. SUM
// is that of all pixels, which are read as 0.
import { readFileSync } from "node:fs";
import vm from "node:vm";

const source = name => readFileSync(new URL(`../browser/${name}`, import.meta.url), "utf8");
const messages = [];  // functions that deliver them

function deliver() {
  while (messages.length) messages.shift()();
}

function element() {
  const parts = {};
  return {
    value: "0", max: "0", checked: true, textContent: "",
    classList: { toggle() {} },
    querySelector: name => parts[name] ??= element(),
    querySelectorAll: () => [],
    setAttribute() {}, getAttribute: () => "panel",
    getContext: () => ({ putImageData() {} }),
  };
}

class ImageData {
  constructor(width, height) {
    this.data = new Uint8ClampedArray(4 * width * height);
  }
}

// Networks whose only number is how often they were trained. `asked` has what each step got.
const PRETENDED = `
  var asked = [];
  class Trainer {
    constructor() { this.stepsDone = 0; this.trained = 0; }
    step(options) {
      asked.push(options);
      this.stepsDone += 1;
      this.trained += 1;
      return { lossD: 1, lossG: 1, scoreReal: 0.5 };
    }
    fixedFaces() { return new Float32Array(64 * 3072); }
    view() { return { clusters: 8 }; }
    state() { return this.trained; }
    loadState(trained) { this.trained = trained; }
  }
  const PointsTrainer = Trainer;
  const useKernel = async () => false, freeTensors = () => {};
  const thumbnails = (images, count) => new Float32Array(count), colorStatistics = () => 0;
  const colorDistance = () => 0, variety = () => 1;
`;

class Worker {
  constructor() {
    const names = {
      postMessage: data => messages.push(() => this.onmessage({ data })),
      MessageChannel: class {
        port1 = {};
        port2 = { postMessage() {} };  // training does not go on by itself: call `train()`
      },
      performance,
    };
    this.context = vm.createContext(names);
    vm.runInContext(PRETENDED + source("worker.js"), this.context);
  }

  postMessage(data) {
    const copy = structuredClone(data);
    messages.push(() => {
      this.context.data = copy;
      vm.runInContext("onmessage({ data })", this.context);
    });
  }
}

const elements = {};
const page = vm.createContext({
  Worker, ImageData, URLSearchParams, atob, performance,
  Blob: class {}, URL: { createObjectURL: () => "" },
  location: { hash: "#width=8" },
  document: { getElementById: id => elements[id] ??= element(), querySelectorAll: () => [] },
  addEventListener() {}, matchMedia: () => ({ addEventListener() {} }),
  drawCurves() {}, drawPlane() {}, thousands: String,
  KERNEL: "", FACES: { count: 2048, columns: 32, sum: Number(process.argv[3] ?? 0) },
});
vm.runInContext(source("page.js"), page);
for (let i = 0; i < 5; i++) {  // the faces are read, the workers get ready
  await new Promise(resolve => setTimeout(resolve));
  deliver();
}

function evaluate(text, context = page) {
  const result = vm.runInContext(text, context);
  deliver();
  return result;
}

const worker = (text, game = "faces") => evaluate(text, evaluate(game).worker.context);
const run = new Function("page", "worker", process.argv[2]);
console.log(JSON.stringify(run(text => evaluate(text), worker)));
