// PixarLog: differences of 11-bit logarithms, in zlib.
import { corrupt, refused } from "./errors.mjs";
import { inflate } from "./inflate.mjs";
import { swapBytes } from "./samples.mjs";

const CODES = 2048;
const STEP = 1 / 250;
const B = Math.exp(-1250 * STEP);
const LINEAR = 250;

// in single precision: the integers are rounded from it
const VALUES = Float32Array.from({ length: CODES }, (_, i) => (i < LINEAR ? i * B * STEP * Math.E : B * Math.exp(STEP * i)));

const OUTPUTS = {
  "8 1": (value) => Math.min(Math.floor(value * 255 + 0.5), 255),
  "16 1": (value) => Math.min(Math.floor(value * 65535 + 0.5), 65535),
  "32 3": (value) => value,
};
const WORDS = { 8: Uint8Array, 16: Uint16Array, 32: Float32Array };

export function pixarLog({ columns, rows, samples, bits, sampleFormat, byteOrder, fillOrder }) {
  const output = OUTPUTS[`${bits} ${sampleFormat}`];
  if (output === undefined) throw refused(`PixarLog with bits_per_sample ${bits} and sample_format ${sampleFormat}`);
  if (fillOrder !== 1) throw refused(`PixarLog with fill_order ${fillOrder}`);
  const table = WORDS[bits].from(VALUES, output);
  const width = columns * samples;
  return (input) => {
    const found = inflate(input, rows * width * 2);
    const stream = found.slice(0, found.length - (found.length % (2 * width)));
    if (byteOrder === "big") swapBytes(stream, 2);
    const codes = new Uint16Array(stream.buffer);
    if (codes.some((code) => code >= CODES)) throw corrupt("PixarLog: a word of more than 11 bits");
    const samplesOut = new WORDS[bits](codes.length);
    for (let at = 0; at < codes.length; at++) {
      if (at % width >= samples) codes[at] += codes[at - samples];
      codes[at] &= CODES - 1;
      samplesOut[at] = table[codes[at]];
    }
    return new Uint8Array(samplesOut.buffer);
  };
}
