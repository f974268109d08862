// Predictors, undone in place: afterwards the samples are little-endian.
import { swapBytes } from "./samples.mjs";

/** Pixels between a sample and the one that is added to it. */
export const DISTANCES = { 2: 1, 34892: 2, 34893: 4, 3: 1, 34894: 2, 34895: 4 };
export const FLOATING = new Set([3, 34894, 34895]);

/** Undo the predictor of whole rows. `bytes` begins at an offset that fits its samples. */
export function unpredict(bytes, config) {
  const stride = config.samples * DISTANCES[config.predictor];
  return FLOATING.has(config.predictor) ? unplane(bytes, stride, config) : integrate(bytes, stride, config);
}

function integrate(bytes, stride, { columns, samples, bits, byteOrder }) {
  const size = bits / 8;
  if (byteOrder === "big") swapBytes(bytes, size);
  const count = bytes.length / size;
  const width = columns * samples;
  const Words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: Uint32Array }[size];
  const words = new Words(bytes.buffer, bytes.byteOffset, bytes.length / Words.BYTES_PER_ELEMENT);
  for (let row = 0; row < count; row += width) {
    const end = row + width;
    if (size < 8) for (let at = row + stride; at < end; at++) words[at] += words[at - stride];
    else addLongs(words, row + stride, end, stride);
  }
  return bytes;
}

function addLongs(words, start, end, stride) {
  for (let at = start; at < end; at++) {
    const low = words[2 * at] + words[2 * (at - stride)];
    words[2 * at + 1] += words[2 * (at - stride) + 1] + (low > 0xffffffff ? 1 : 0);
    words[2 * at] = low;
  }
}

function unplane(bytes, stride, { columns, samples, bits }) {
  const size = bits / 8;
  const plane = columns * samples;
  const width = plane * size;
  const row = new Uint8Array(width);
  for (let start = 0; start < bytes.length; start += width) {
    row.set(bytes.subarray(start, start + width));
    for (let at = stride; at < width; at++) row[at] += row[at - stride];
    for (let byte = 0; byte < size; byte++) {
      const from = (size - 1 - byte) * plane;
      for (let at = 0; at < plane; at++) bytes[start + at * size + byte] = row[from + at];
    }
  }
  return bytes;
}
