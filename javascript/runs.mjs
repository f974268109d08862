// NeXT and ThunderScan: runs of samples of 2 and 4 bits, row behind row.
import { corrupt, refused } from "./errors.mjs";
import { reverseBits } from "./samples.mjs";

/** Refuse other samples than one of so many bits. */
function check({ samples, bits, sampleFormat }, expected, name) {
  if (samples !== 1 || bits !== expected || (sampleFormat !== 1 && sampleFormat !== 4)) {
    throw refused(`${name} with ${samples} samples of ${bits} bits, sample_format ${sampleFormat}`);
  }
}

/** Rows until the input ends: `decodeRow(output, input, at)` returns where the next row begins, or undefined at the end. */
function rowsOf(decodeRow, { columns, rows, fillOrder }) {
  return (bytes) => {
    const input = fillOrder === 2 ? reverseBits(bytes) : bytes;
    const output = new Uint8Array(rows * columns);
    let at = 0;
    let row = 0;
    for (; row < rows; row++) {
      const next = decodeRow(output.subarray(row * columns, (row + 1) * columns), input, at);
      if (next === undefined) break;
      at = next;
    }
    return output.subarray(0, row * columns);
  };
}

export function next(config) {
  check(config, 2, "NeXT");
  const width = Math.ceil(config.columns / 4);
  return rowsOf((row, input, at) => {
    if (input[at] === 0x00) return literal(row, input, at + 1, 0, width);
    if (input[at] === 0x40) {
      if (at + 5 > input.length) return undefined;
      const offset = input[at + 1] * 256 + input[at + 2];
      const count = input[at + 3] * 256 + input[at + 4];
      if (offset + count > width) throw corrupt("NeXT: a span that leaves its row");
      row.fill(3);
      return literal(row, input, at + 5, offset, count);
    }
    for (let place = 0; place < row.length; at++) {
      if (at >= input.length) return undefined;
      const end = place + (input[at] & 63);
      row.fill(input[at] >> 6, place, end);
      place = end;
    }
    return at;
  }, config);
}

function literal(row, input, at, offset, count) {
  if (at + count > input.length) return undefined;
  for (let place = 4 * offset; place < Math.min(4 * (offset + count), row.length); place++) {
    row[place] = (input[at + (place >> 2) - offset] >> (6 - 2 * (place & 3))) & 3;
  }
  return at + count;
}

const TWO_BITS = [0, 1, undefined, -1];
const THREE_BITS = [0, 1, 2, 3, undefined, -3, -2, -1];

export function thunderscan(config) {
  check(config, 4, "ThunderScan");
  return rowsOf((row, input, at) => {
    let place = 0;
    let last = 0;
    const add = (difference) => {
      if (difference === undefined) return;
      last = (last + difference) & 15;
      if (place < row.length) row[place++] = last;
    };
    for (; place < row.length; at++) {
      if (at >= input.length) return undefined;
      const content = input[at] & 63;
      const operation = input[at] >> 6;
      if (operation === 0) {
        if (place + content > row.length) throw corrupt("ThunderScan: a run that leaves its row");
        row.fill(last, place, place + content);
        place += content;
      } else if (operation === 1) for (let bit = 4; bit >= 0; bit -= 2) add(TWO_BITS[(content >> bit) & 3]);
      else if (operation === 2) for (let bit = 3; bit >= 0; bit -= 3) add(THREE_BITS[(content >> bit) & 7]);
      else row[place++] = last = content & 15;
    }
    return at;
  }, config);
}
