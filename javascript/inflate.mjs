// Streams of zlib (RFC 1950, 1951) as a segment has them: they may end early, hold more than the segment, or have bytes
// behind them. DecompressionStream refuses all of that.
import { corrupt } from "./errors.mjs";

const END = Symbol("the stream ends early");
const FULL = Symbol("the stream holds far more than the segment");

const SURPLUS = 1 << 20; // what a stream holds beyond three more segments and this is not looked at

const LENGTH_BASE = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
];
const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193,
  12289, 16385, 24577,
];
const DISTANCE_BITS = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const CODE_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const END_OF_BLOCK = 256;
const PRIMARY_BITS = 10; // codes up to this length are found by one look into a table
const PRIMARY = 1 << PRIMARY_BITS;

/** Decoder of one Huffman code: a table for short codes, and the canonical order of all codes for longer ones. */
function huffman(lengths, what) {
  const counts = new Uint16Array(16);
  for (const length of lengths) counts[length]++;
  counts[0] = 0;
  let left = 1;
  for (let length = 1; length < 16; length++) left = checked(2 * left - counts[length], what);
  const used = lengths.reduce((sum, length) => sum + (length > 0), 0);
  const single = used === 1 && counts[1] === 1;
  if (left > 0 && used > 0 && !(single && what !== "code lengths")) throw corrupt(`Deflate: incomplete code of ${what}`);

  const next = new Uint32Array(17); // first code of each length
  const offsets = new Uint16Array(17);
  for (let length = 1; length < 16; length++) {
    next[length + 1] = (next[length] + counts[length]) << 1;
    offsets[length + 1] = offsets[length] + counts[length];
  }
  const symbols = new Uint16Array(used);
  const table = new Uint16Array(PRIMARY); // symbol << 4 | length, or 0
  const code = next.slice();
  const place = offsets.slice();
  for (let symbol = 0; symbol < lengths.length; symbol++) {
    const length = lengths[symbol];
    if (length === 0) continue;
    symbols[place[length]++] = symbol;
    const value = code[length]++;
    if (length > PRIMARY_BITS) continue;
    let reversed = 0;
    for (let bit = 0; bit < length; bit++) reversed |= ((value >> bit) & 1) << (length - 1 - bit);
    for (let at = reversed; at < table.length; at += 1 << length) table[at] = (symbol << 4) | length;
  }
  return { table, symbols, counts };
}

function checked(left, what) {
  if (left < 0) throw corrupt(`Deflate: too many codes of ${what}`);
  return left;
}

let fixedCodes;

function fixed() {
  if (fixedCodes === undefined) {
    const lengths = new Uint8Array(288).fill(8).fill(9, 144, 256).fill(7, 256, 280);
    fixedCodes = [huffman(lengths, "literals"), huffman(new Uint8Array(32).fill(5), "distances")];
  }
  return fixedCodes;
}

class Inflater {
  constructor(input, at, length) {
    this.input = input;
    this.at = at;
    this.length = length;
    this.output = new Uint8Array(length);
    this.out = 0;
    this.bits = 0;
    this.held = 0; // number of bits in `bits`, at most 31
  }

  /** Make room for what a stream holds beyond the segment: its checksum tells damage. */
  grow() {
    const limit = 4 * this.length + SURPLUS;
    if (this.output.length === limit) throw FULL;
    const output = new Uint8Array(limit);
    output.set(this.output);
    this.output = output;
  }

  fill() {
    while (this.held < 24 && this.at < this.input.length) {
      this.bits |= this.input[this.at++] << this.held;
      this.held += 8;
    }
  }

  take(count) {
    if (this.held < count) this.fill();
    if (this.held < count) throw END;
    const value = this.bits & ((1 << count) - 1);
    this.bits >>>= count;
    this.held -= count;
    return value;
  }

  symbol({ table, symbols, counts }) {
    if (this.held < 15) this.fill();
    const entry = table[this.bits & (PRIMARY - 1)];
    if (entry !== 0) {
      const length = entry & 15;
      if (length > this.held) throw END;
      this.bits >>>= length;
      this.held -= length;
      return entry >>> 4;
    }
    let code = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length < 16; length++) {
      if (length > this.held) throw END;
      code |= (this.bits >>> (length - 1)) & 1;
      const count = counts[length];
      if (code - first < count) {
        this.bits >>>= length;
        this.held -= length;
        return symbols[index + code - first];
      }
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw corrupt("Deflate: a code that stands for nothing");
  }

  /** Decode all blocks; throws END or FULL when the stream is cut, or holds more than the output. */
  blocks() {
    for (let last = 0; last === 0; ) {
      last = this.take(1);
      const type = this.take(2);
      if (type === 0) this.stored();
      else if (type === 1) this.compressed(...fixed());
      else if (type === 2) this.compressed(...this.codes());
      else throw corrupt("Deflate: a block of type 3");
    }
  }

  stored() {
    this.take(this.held & 7);
    const size = this.take(16);
    if (this.take(16) !== (size ^ 0xffff)) throw corrupt("Deflate: the size of a stored block is damaged");
    this.at -= this.held >> 3;
    this.held = 0;
    this.bits = 0;
    const count = Math.min(size, this.input.length - this.at);
    while (this.out + count > this.output.length) this.grow();
    this.output.set(this.input.subarray(this.at, this.at + count), this.out);
    this.out += count;
    this.at += count;
    if (count < size) throw END;
  }

  codes() {
    const literals = this.take(5) + 257;
    const distances = this.take(5) + 1;
    const count = this.take(4) + 4;
    if (literals > 286 || distances > 30) throw corrupt("Deflate: too many symbols");
    const codeLengths = new Uint8Array(19);
    for (let at = 0; at < count; at++) codeLengths[CODE_ORDER[at]] = this.take(3);
    const code = huffman(codeLengths, "code lengths");
    const lengths = new Uint8Array(literals + distances);
    for (let at = 0; at < lengths.length; ) {
      const symbol = this.symbol(code);
      if (symbol < 16) {
        lengths[at++] = symbol;
        continue;
      }
      if (symbol === 16 && at === 0) throw corrupt("Deflate: no code length to repeat");
      const value = symbol === 16 ? lengths[at - 1] : 0;
      const times = symbol === 16 ? 3 + this.take(2) : symbol === 17 ? 3 + this.take(3) : 11 + this.take(7);
      if (at + times > lengths.length) throw corrupt("Deflate: too many code lengths");
      lengths.fill(value, at, at + times);
      at += times;
    }
    if (lengths[END_OF_BLOCK] === 0) throw corrupt("Deflate: a block without end");
    return [huffman(lengths.subarray(0, literals), "literals"), huffman(lengths.subarray(literals), "distances")];
  }

  compressed(literals, distances) {
    while (this.literals(literals)) this.copy(literals.symbol, distances);
  }

  /** Decode literals up to the first other symbol, kept as `code.symbol`; false at the end of the block. */
  literals(code) {
    const { input } = this;
    const { table } = code;
    let { output, out, at, bits, held } = this; // in the hot loop local variables are several times faster
    let symbol;
    for (;;) {
      while (held < 24 && at < input.length) {
        bits |= input[at++] << held;
        held += 8;
      }
      const entry = table[bits & (PRIMARY - 1)];
      const length = entry & 15;
      if (entry === 0 || length > held) {
        this.at = at;
        this.bits = bits;
        this.held = held;
        this.out = out;
        symbol = this.symbol(code);
        ({ at, bits, held } = this);
      } else {
        bits >>>= length;
        held -= length;
        symbol = entry >>> 4;
      }
      if (symbol >= END_OF_BLOCK) break;
      if (out === output.length) {
        this.out = out;
        this.grow();
        ({ output } = this);
      }
      output[out++] = symbol;
    }
    this.at = at;
    this.bits = bits;
    this.held = held;
    this.out = out;
    code.symbol = symbol;
    return symbol !== END_OF_BLOCK;
  }

  /** Copy a string that was there before, of a length that `symbol` begins. */
  copy(symbol, distances) {
    if (symbol > 285) throw corrupt("Deflate: a length that stands for nothing");
    const length = LENGTH_BASE[symbol - 257] + this.take(LENGTH_BITS[symbol - 257]);
    const code = this.symbol(distances);
    if (code > 29) throw corrupt("Deflate: a distance that stands for nothing");
    const distance = DISTANCE_BASE[code] + this.take(DISTANCE_BITS[code]);
    if (distance > this.out) throw corrupt("Deflate: a distance to before the start");
    const end = this.out + length;
    if (end > this.output.length) this.grow();
    const { output } = this;
    for (let to = this.out, from = to - distance; to < end; ) output[to++] = output[from++];
    this.out = end;
  }
}

function adler32(bytes) {
  let a = 1;
  let b = 0;
  for (let at = 0; at < bytes.length; ) {
    for (const end = Math.min(at + 3800, bytes.length); at < end; at++) {
      a += bytes[at];
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return b * 65536 + a;
}

/** The first `length` bytes that a zlib stream holds, or fewer when it ends before. */
export function inflate(input, length) {
  if (input.length < 2) return new Uint8Array(0);
  const header = input[0] * 256 + input[1];
  if ((input[0] & 15) !== 8 || input[0] >> 4 > 7 || header % 31 !== 0) throw corrupt("Deflate: no header of zlib");
  if (input[1] & 32) throw corrupt("Deflate: the stream needs a dictionary");
  const inflater = new Inflater(input, 2, length);
  try {
    inflater.blocks();
  } catch (error) {
    if (error === END || error === FULL) return inflater.output.subarray(0, Math.min(inflater.out, length));
    throw error;
  }
  const given = inflater.output.subarray(0, inflater.out);
  const at = inflater.at - (inflater.held >> 3);
  if (at + 4 <= input.length) {
    const view = new DataView(input.buffer, input.byteOffset + at, 4);
    if (view.getUint32(0) !== adler32(given)) throw corrupt("Deflate: the checksum does not match");
  }
  return given.subarray(0, length);
}
