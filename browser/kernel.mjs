// kernel.wat -> kernel.wasm. Needed only after kernel.wat has changed: `npm install wabt` first.
import { readFileSync, writeFileSync } from "node:fs";
import wabt from "wabt";

const source = new URL("kernel.wat", import.meta.url);
const module = (await wabt()).parseWat("kernel.wat", readFileSync(source), { simd: true });
const { buffer } = module.toBinary({});
const target = process.argv[2] ?? new URL("kernel.wasm", import.meta.url);
writeFileSync(target, buffer);
console.log(`kernel.wasm: ${buffer.length} bytes`);
