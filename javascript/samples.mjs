// Step 4 of the page: the samples of whole rows, in their file's depth and byte order, to whole little-endian bytes.
import { refused } from "./errors.mjs";

const LITTLE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
if (!LITTLE) throw new Error("virtual_tiff.segment needs a little-endian machine");

/** Bytes of a sample of the output, and of one of its parts (a complex sample has two). */
export function outputType(bits, sampleFormat) {
  if ((sampleFormat === 1 || sampleFormat === 4) && bits === 1) return { size: 1, part: 1 };
  if (sampleFormat === 1 || sampleFormat === 2 || sampleFormat === 4) {
    const size = bits < 2 ? 0 : bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : bits === 64 ? 8 : 0;
    if (size) return { size, part: size };
  }
  if (sampleFormat === 3) {
    const size = { 16: 2, 24: 4, 32: 4, 64: 8 }[bits];
    if (size) return { size, part: size };
  }
  if (sampleFormat === 5) {
    const size = { 16: 8, 32: 8, 64: 16 }[bits];
    if (size) return { size, part: size / 2 };
  }
  if (sampleFormat === 6) {
    const size = { 32: 8, 64: 8, 128: 16 }[bits];
    if (size) return { size, part: size / 2 };
  }
  throw refused(`no samples of bits_per_sample ${bits} and sample_format ${sampleFormat}`);
}

/** Reverse the bytes of each item, in place. */
export function swapBytes(bytes, size) {
  for (let start = 0; start < bytes.length; start += size) {
    for (let low = start, high = start + size - 1; low < high; low++, high--) {
      const byte = bytes[low];
      bytes[low] = bytes[high];
      bytes[high] = byte;
    }
  }
}

const REVERSED = Uint8Array.from({ length: 256 }, (_, byte) => {
  let reversed = 0;
  for (let bit = 0; bit < 8; bit++) reversed |= ((byte >> bit) & 1) << (7 - bit);
  return reversed;
});

/** A copy with the bits of each byte in reverse. */
export const reverseBits = (bytes) => bytes.map((byte) => REVERSED[byte]);

/**
 * Samples of `rows` whole rows. `bytes` may be changed, and be what is returned.
 *
 * `byteOrder` is that of `bytes`: little-endian after a predictor.
 */
export function unpack(bytes, rows, byteOrder, config) {
  const { columns, samples, bits, depths, sampleFormat } = config;
  const count = rows * columns * samples;
  const little = byteOrder === "little";
  if (config.packed565) return unpack565(bytes, count / 3);
  if (depths !== undefined) return unpackUnequal(bytes, count, little, config);
  const { size, part } = outputType(bits, sampleFormat);
  if (bits === 24 && sampleFormat === 3) return unpackFloats24(bytes, count, little);
  if (bits === 24) return unpackIntegers24(bytes, count, little, config);
  if (bits % 8 !== 0) return unpackBits(bytes, rows, size, config);
  if (bits === 8 * size) {
    if (!little) swapBytes(bytes, part);
    return bytes;
  }
  return convertParts(bytes, 2 * count, little, config);
}

/** Parts of complex samples that are integers or floats of 16 bits. */
function convertParts(bytes, count, little, { bits, sampleFormat }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (sampleFormat === 6) {
    const words = new Uint32Array(count);
    for (let at = 0; at < count; at++) words[at] = halfToSingle(view.getUint16(2 * at, little));
    return new Uint8Array(words.buffer);
  }
  const size = bits / 16;
  const parts = size === 4 ? new Float64Array(count) : new Float32Array(count);
  for (let at = 0; at < count; at++) parts[at] = integer(view, at * size, size, little);
  return new Uint8Array(parts.buffer);
}

function integer(view, at, size, little) {
  if (size === 1) return view.getInt8(at);
  return size === 2 ? view.getInt16(at, little) : view.getInt32(at, little);
}

function signed(value, bits, sampleFormat) {
  return sampleFormat === 2 ? (value << (32 - bits)) >> (32 - bits) : value;
}

function unpackBits(bytes, rows, size, { columns, samples, bits, sampleFormat }) {
  const width = columns * samples;
  const Words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[size];
  const words = new Words(rows * width);
  const rowBytes = Math.ceil((width * bits) / 8);
  for (let row = 0; row < rows; row++) {
    let at = row * rowBytes;
    let left = 8; // bits of the byte that are not read yet
    for (let place = row * width; place < (row + 1) * width; place++) {
      let sample = 0;
      for (let need = bits; need > 0; ) {
        const count = need < left ? need : left;
        left -= count;
        need -= count;
        sample = (sample << count) | ((bytes[at] >> left) & ((1 << count) - 1));
        if (left === 0) {
          at++;
          left = 8;
        }
      }
      words[place] = signed(sample, bits, sampleFormat);
    }
  }
  return new Uint8Array(words.buffer);
}

/** Integers of 24 bits: the byte order is the opposite of the file's. */
function unpackIntegers24(bytes, count, little, { sampleFormat }) {
  const words = new Uint32Array(count);
  const high = little ? 0 : 2;
  for (let at = 0; at < count; at++) {
    const start = 3 * at;
    const value = (bytes[start + high] << 16) | (bytes[start + 1] << 8) | bytes[start + 2 - high];
    words[at] = signed(value, 24, sampleFormat);
  }
  return new Uint8Array(words.buffer);
}

function unpackFloats24(bytes, count, little) {
  const words = new Uint32Array(count);
  const high = little ? 2 : 0;
  for (let at = 0; at < count; at++) {
    const start = 3 * at;
    const value = (bytes[start + high] << 16) | (bytes[start + 1] << 8) | bytes[start + 2 - high];
    const isNaN = (value & 0x7fffff) > 0x7f0000;
    words[at] = isNaN ? ((value << 8) & 0x80000000) | 0x7fc00000 : toSingle(value, 7, 16);
  }
  return new Uint8Array(words.buffer);
}

/** The bits of a binary float of another width, as those of a float32. */
function toSingle(value, exponentBits, mantissaBits) {
  const sign = value >>> (exponentBits + mantissaBits);
  const top = (1 << exponentBits) - 1;
  const bias = top >> 1;
  let exponent = (value >>> mantissaBits) & top;
  let mantissa = value & ((1 << mantissaBits) - 1);
  if (exponent === top) exponent = 255;
  else if (exponent > 0) exponent += 127 - bias;
  else if (mantissa > 0) {
    exponent = 128 - bias;
    while (mantissa < 1 << mantissaBits) {
      mantissa *= 2;
      exponent--;
    }
    mantissa -= 1 << mantissaBits;
  }
  return ((sign << 31) | (exponent << 23) | (mantissa << (23 - mantissaBits))) >>> 0;
}

const halfToSingle = (value) => toSingle(value, 5, 10);

/** Depths that differ, all whole numbers of bytes: every sample becomes the longest type. */
function unpackUnequal(bytes, count, little, { depths, samples, sampleFormat, size }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const output = new Uint8Array(count * size);
  const to = new DataView(output.buffer);
  let from = 0;
  for (let at = 0; at < count; at++) {
    const width = depths[at % samples] / 8;
    if (sampleFormat === 3) setFloat(to, at * size, size, getFloat(view, from, width, little));
    else extend(output, at * size, size, bytes, from, width, little, sampleFormat === 2);
    from += width;
  }
  return output;
}

function extend(output, place, size, bytes, from, width, little, isSigned) {
  for (let byte = 0; byte < width; byte++) output[place + byte] = bytes[from + (little ? byte : width - 1 - byte)];
  if (isSigned && output[place + width - 1] & 128) output.fill(255, place + width, place + size);
}

const WORD = new DataView(new ArrayBuffer(4));

function getFloat(view, at, width, little) {
  if (width === 8) return view.getFloat64(at, little);
  if (width === 4) return view.getFloat32(at, little);
  WORD.setUint32(0, halfToSingle(view.getUint16(at, little)));
  return WORD.getFloat32(0);
}

function setFloat(to, at, size, value) {
  if (size === 8) to.setFloat64(at, value, true);
  else to.setFloat32(at, value, true);
}

/** Words of 16 bits with 5, 6 and 5 bits, the first sample highest, to three samples of 8 bits. */
function unpack565(bytes, pixels) {
  const output = new Uint8Array(3 * pixels);
  for (let at = 0; at < pixels; at++) {
    const word = bytes[2 * at] | (bytes[2 * at + 1] << 8);
    output[3 * at] = ((word >> 11) * 33) >> 2;
    output[3 * at + 1] = (((word >> 5) & 63) * 65) >> 4;
    output[3 * at + 2] = ((word & 31) * 33) >> 2;
  }
  return output;
}

/** Blocks of subsampled YCbCr to pixels: chroma is repeated. Samples have 8 or 16 bits. */
export function unpackBlocks(bytes, blockRows, byteOrder, { columns, rows, bits, subsampling }) {
  const [h, v] = subsampling;
  const size = bits / 8;
  if (byteOrder === "big") swapBytes(bytes, size);
  const Words = size === 1 ? Uint8Array : Uint16Array;
  const words = new Words(bytes.buffer, bytes.byteOffset, bytes.length / size);
  const held = Math.min(blockRows * v, rows);
  const output = new Words(held * columns * 3);
  const blocks = Math.ceil(columns / h);
  for (let y = 0; y < held; y++) {
    for (let x = 0; x < columns; x++) {
      const block = (Math.floor(y / v) * blocks + Math.floor(x / h)) * (h * v + 2);
      const place = 3 * (y * columns + x);
      output[place] = words[block + (y % v) * h + (x % h)];
      output[place + 1] = words[block + h * v];
      output[place + 2] = words[block + h * v + 1];
    }
  }
  return new Uint8Array(output.buffer);
}

/** The samples of interleaved pixels, plane by plane. */
export function inPlanes(pixels, { outSamples: samples, pixelBytes }) {
  const size = pixelBytes / samples;
  const count = pixels.length / pixelBytes;
  const planes = new Uint8Array(pixels.length);
  let to = 0;
  for (let sample = 0; sample < samples; sample++) {
    for (let pixel = 0; pixel < count; pixel++) {
      const from = pixel * pixelBytes + sample * size;
      for (let byte = 0; byte < size; byte++) planes[to++] = pixels[from + byte];
    }
  }
  return planes;
}
