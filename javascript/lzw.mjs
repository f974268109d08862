// LZW of TIFF 6 (section 13), and its old form with the bits in the other order.
import { corrupt } from "./errors.mjs";

const CLEAR = 256;
const END = 257;
const FIRST = 258;
const MAX_CODES = 4096;

/** The first `length` bytes that an LZW stream holds, or fewer when it ends before. */
export function unLzw(input, length) {
  const old = input.length > 1 && input[0] === 0 && (input[1] & 1) === 1;
  const early = old ? 0 : 1; // codes widen this many codes before they must
  const prefix = new Uint16Array(MAX_CODES);
  const suffix = new Uint8Array(MAX_CODES);
  const sizes = new Uint16Array(MAX_CODES);
  for (let code = 0; code < CLEAR; code++) {
    suffix[code] = code;
    sizes[code] = 1;
  }
  const output = new Uint8Array(length);
  let out = 0;
  let at = 0;
  let bits = 0;
  let held = 0;
  let width = 9;
  let next = FIRST;
  let previous = -1;
  let first = true;

  while (out < length) {
    while (held < width && at < input.length) {
      bits = old ? bits | (input[at++] << held) : ((bits << 8) | input[at++]) & 0xfffff;
      held += 8;
    }
    if (held < width) break;
    let code;
    if (old) {
      code = bits & ((1 << width) - 1);
      bits >>>= width;
    } else {
      code = (bits >>> (held - width)) & ((1 << width) - 1);
    }
    held -= width;
    if (first && code !== CLEAR) throw corrupt("LZW: the stream does not begin with a Clear code");
    first = false;
    if (code === CLEAR) {
      width = 9;
      next = FIRST;
      previous = -1;
      continue;
    }
    if (code === END) break;
    if (previous < 0) {
      if (code > CLEAR) throw corrupt("LZW: the first code of a table is none of a byte");
    } else {
      if (code > next) throw corrupt("LZW: a code that is not in the table");
      if (next < MAX_CODES) {
        prefix[next] = previous;
        sizes[next] = sizes[previous] + 1;
        suffix[next] = firstByte(prefix, code === next ? previous : code);
        next++;
      }
    }
    const end = out + sizes[code];
    let walk = code;
    for (let place = end - 1; place >= out; place--) {
      if (place < length) output[place] = suffix[walk];
      walk = prefix[walk];
    }
    out = Math.min(end, length);
    previous = code;
    if (next + early >= 1 << width && width < 12) width++;
  }
  return output.subarray(0, out);
}

function firstByte(prefix, code) {
  let walk = code;
  while (walk >= FIRST) walk = prefix[walk];
  return walk;
}
