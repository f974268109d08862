// SGI LogLuv and LogL: logarithms of luminance, and chromaticity by u and v.
import { corrupt, refused } from "./errors.mjs";

// Start of u' in millionths, and number of squares, of the rows of squares of equal v'.
const ROWS = `
247663:4 243779:6 241684:7 237874:9 235906:10 232153:12 228352:14 226259:15 222371:17 220410:18 214710:21 212714:22
210721:23 204976:26 202986:27 199245:29 195525:31 193560:32 189878:34 186216:36 186216:36 182592:38 179003:40
175466:42 172001:44 172001:44 168612:46 168612:46 163575:49 158642:52 158642:52 158642:52 153815:55 153815:55
149097:58 149097:58 142746:62 142746:62 142746:62 138270:65 138270:65 138270:65 132166:69 132166:69 126204:73
126204:73 126204:73 120381:77 120381:77 120381:77 120381:77 112962:82 112962:82 112962:82 107450:86 107450:86
107450:86 107450:86 100343:91 100343:91 100343:91 95126:95 95126:95 95126:95 95126:95 88276:100 88276:100 88276:100
88276:100 81523:105 81523:105 81523:105 81523:105 74861:110 74861:110 74861:110 74861:110 68290:115 68290:115
68290:115 68290:115 63573:119 63573:119 63573:119 63573:119 57219:124 57219:124 57219:124 57219:124 50985:129
50985:129 50985:129 50985:129 50985:129 44859:134 44859:134 44859:134 44859:134 40571:138 40571:138 40571:138
40571:138 36339:142 36339:142 36339:142 36339:142 32139:146 32139:146 32139:146 32139:146 27947:150 27947:150
27947:150 23739:154 23739:154 23739:154 23739:154 19504:158 19504:158 19504:158 16976:161 16976:161 16976:161
16976:161 12639:165 12639:165 12639:165 9991:168 9991:168 9991:168 9016:170 9016:170 9016:170 6217:173 6217:173
5097:175 5097:175 5097:175 3909:177 3909:177 2340:177 2389:170 1068:164 1653:157 717:150 1614:143 270:136 484:129
1103:123 1242:115 1188:109 1011:103 709:97 301:89 2416:82 3251:76 3246:69 4141:62 5963:55 8839:47 10490:40 16994:31
23659:21
`.trim();

// constants in single precision, as libtiff has them
const SIDE = Math.fround(0.0035);
const FIRST_V = Math.fround(0.01694);
const OUTSIDE = [0.210526316, 0.473684211];

/** u' and v' of all codes of 14 bits. */
function chromaticities() {
  const middles = [];
  ROWS.split(/\s+/).forEach((entry, row) => {
    const [start, count] = entry.split(":").map(Number);
    for (let at = 0; at < count; at++) middles.push([Math.fround(start / 1e6) + (at + 0.5) * SIDE, FIRST_V + (row + 0.5) * SIDE]);
  });
  return middles;
}

let squares;

/** Y of a code of 16 bits: a sign and 15 bits of logarithm. */
function luminance16(code) {
  const exponent = code & 0x7fff;
  if (exponent === 0) return 0;
  const value = 2 ** ((exponent + 0.5) / 256 - 64);
  return code & 0x8000 ? -value : value;
}

function luminance10(code) {
  return code === 0 ? 0 : 2 ** ((code + 0.5) / 64 - 12);
}

/** Samples of a code of 32 bits: L16, Y, u', v'. */
function code32(code) {
  const l16 = code >>> 16;
  return [l16, luminance16(l16), (((code >>> 8) & 255) + 0.5) / 410, ((code & 255) + 0.5) / 410];
}

function code24(code) {
  squares ??= chromaticities();
  const level = code >>> 14;
  return [((code >>> 12) & 0xffd) + 13314, luminance10(level), ...(squares[code & 0x3fff] ?? OUTSIDE)];
}

function xyz([, y, u, v]) {
  if (y <= 0) return [0, 0, 0];
  const divisor = 6 * u - 16 * v + 12;
  const [cx, cy] = [(9 * u) / divisor, (4 * v) / divisor];
  return [(cx / cy) * y, y, ((1 - cx - cy) / cy) * y];
}

const OUTPUTS = {
  LogL: {
    "16 1": [Uint16Array, ([l16]) => [l16]],
    "16 2": [Uint16Array, ([l16]) => [l16]],
    "32 3": [Float32Array, ([, y]) => [y]],
    "8 1": [Uint8Array, ([, y]) => [y <= 0 ? 0 : Math.min(Math.floor(256 * Math.sqrt(y)), 255)]],
  },
  LogLuv: {
    "16 1": [Uint16Array, ([l16, , u, v]) => [l16, Math.floor(u * 32768), Math.floor(v * 32768)]],
    "16 2": [Uint16Array, ([l16, , u, v]) => [l16, Math.floor(u * 32768), Math.floor(v * 32768)]],
    "32 3": [Float32Array, xyz],
  },
};

/** One row of planes of runs, or undefined when the input ends inside it. */
function planes(input, at, codes, count) {
  codes.fill(0);
  for (let shift = 8 * (count - 1); shift >= 0; shift -= 8) {
    for (let place = 0; place < codes.length; ) {
      if (at >= input.length) return undefined;
      const head = input[at++];
      const size = head >= 128 ? head - 126 : head;
      if (place + size > codes.length) throw corrupt("SGI LogLuv: a run that leaves its row");
      if (at + (head >= 128 ? 1 : size) > input.length) return undefined;
      for (let end = place + size; place < end; place++) codes[place] |= input[head >= 128 ? at : at++] << shift;
      if (head >= 128) at++;
    }
  }
  return at;
}

function triplets(input, at, codes) {
  if (at + 3 * codes.length > input.length) return undefined;
  for (let place = 0; place < codes.length; place++, at += 3) {
    codes[place] = (input[at] << 16) | (input[at + 1] << 8) | input[at + 2];
  }
  return at;
}

export function sgiLog({ compression, photometric, columns, rows, samples, bits, sampleFormat, fillOrder }) {
  const kind = { "32844 1": "LogL", "32845 3": "LogLuv" }[`${photometric} ${samples}`];
  const output = OUTPUTS[kind]?.[`${bits} ${sampleFormat}`];
  if (output === undefined || (compression === 34677 && kind === "LogL")) {
    const found = `photometric ${photometric}, ${samples} samples of ${bits} bits, sample_format ${sampleFormat}`;
    throw refused(`compression ${compression} of ${found}`);
  }
  if (fillOrder !== 1) throw refused(`compression ${compression} with fill_order ${fillOrder}`);
  const [Words, samplesOf] = output;
  const explain = compression === 34677 ? code24 : kind === "LogL" ? (code) => [code, luminance16(code)] : code32;
  return (input) => {
    const found = new Words(rows * columns * samples);
    const codes = new Uint32Array(columns);
    let row = 0;
    for (let at = 0; row < rows; row++) {
      at = compression === 34677 ? triplets(input, at, codes) : planes(input, at, codes, kind === "LogL" ? 2 : 4);
      if (at === undefined) break;
      codes.forEach((code, place) => found.set(samplesOf(explain(code)), (row * columns + place) * samples));
    }
    return new Uint8Array(found.buffer, 0, row * columns * samples * Words.BYTES_PER_ELEMENT);
  };
}
