// Decode all test vectors by javascript/segment.mjs: {"name": {"decoded": base64} or {"refused": code, "message": ...}}.
// node decode_vectors.mjs DIRECTORY_OF_VECTORS
import { readdirSync, readFileSync } from "node:fs";
import { SegmentCodec } from "../javascript/segment.mjs";

const [directory] = process.argv.slice(2);
const results = {};
for (const name of readdirSync(directory).filter((name) => name.endsWith(".json"))) {
  const { configuration, encoded } = JSON.parse(readFileSync(`${directory}/${name}`, "utf8"));
  let result;
  try {
    const decoded = await SegmentCodec.fromConfig(configuration).decode(new Uint8Array(Buffer.from(encoded, "base64")));
    result = { decoded: Buffer.from(decoded).toString("base64") };
  } catch (error) {
    result = { refused: error.code ?? error.name, message: error.message };
  }
  results[name.slice(0, -".json".length)] = result;
}
process.stdout.write(JSON.stringify(results));
