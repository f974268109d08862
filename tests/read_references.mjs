// Read one array of kerchunk references with zarrita alone, and print its shape, its type and its samples in C order.
// node read_references.mjs DIRECTORY_OF_PACKAGES REFERENCES ARRAY
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

const [packages, references, name] = process.argv.slice(2);
const home = `${packages}/node_modules/zarrita`;
const { exports } = JSON.parse(readFileSync(`${home}/package.json`, "utf8"));
const zarr = await import(pathToFileURL(`${home}/${exports["."].import}`));
const { refs } = JSON.parse(readFileSync(references, "utf8"));

const store = {
  async get(key) {
    const value = refs[key.slice(1)];
    if (value === undefined) return undefined;
    if (typeof value === "object" && !Array.isArray(value)) return new TextEncoder().encode(JSON.stringify(value));
    if (typeof value === "string") {
      return new Uint8Array(value.startsWith("base64:") ? Buffer.from(value.slice(7), "base64") : Buffer.from(value));
    }
    const [url, offset, length] = value;
    const bytes = new Uint8Array(length);
    const file = openSync(url.startsWith("file:") ? fileURLToPath(url) : url);
    readSync(file, bytes, 0, length, offset);
    closeSync(file);
    return bytes;
  },
};

const array = await zarr.open.v3(zarr.root(store).resolve(name), { kind: "array" });
const { data, shape, stride } = await zarr.get(array);
const count = shape.reduce((product, size) => product * size, 1);
const samples = new data.constructor(count);
const index = shape.map(() => 0);
for (let at = 0; at < count; at++) {
  samples[at] = data[index.reduce((sum, place, axis) => sum + place * stride[axis], 0)];
  for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
}
const base64 = Buffer.from(samples.buffer).toString("base64");
process.stdout.write(JSON.stringify({ shape, dtype: array.dtype, samples: base64 }));
