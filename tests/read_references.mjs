// Read one array of kerchunk references with zarrita, and print its shape, its type and its samples in C order.
// node read_references.mjs DIRECTORY_OF_PACKAGES REFERENCES ARRAY [CODEC...]
// CODEC "segment" registers javascript/segment.mjs, "zstd" lends it zarrita's decoder of Zstandard.
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

const [packages, references, name, ...codecs] = process.argv.slice(2);
const home = `${packages}/node_modules/zarrita`;
const { exports } = JSON.parse(readFileSync(`${home}/package.json`, "utf8"));
const zarr = await import(pathToFileURL(`${home}/${exports["."].import}`));
if (codecs.includes("segment")) {
  const { segmentCodec } = await import("../javascript/segment.mjs");
  const zstd = async (bytes) => (await zarr.registry.get("zstd")()).fromConfig({}).decode(bytes);
  zarr.registry.set("virtual_tiff.segment", () => segmentCodec(codecs.includes("zstd") ? { zstd } : {}));
}
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
const bits = array.dtype === "bool"; // zarrita's own class, which has no numeric keys
const samples = new (bits ? Uint8Array : data.constructor)(count);
const index = shape.map(() => 0);
for (let at = 0; at < count; at++) {
  const place = index.reduce((sum, step, axis) => sum + step * stride[axis], 0);
  samples[at] = bits ? data.get(place) : data[place];
  for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
}
const base64 = Buffer.from(samples.buffer).toString("base64");
process.stdout.write(JSON.stringify({ shape, dtype: array.dtype, samples: base64 }));
