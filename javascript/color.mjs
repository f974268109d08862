// Step 5 of the page: three samples of 8 bits from each pixel.
import { JPEG } from "./configuration.mjs";
import { refused } from "./errors.mjs";

/** The conversion that a configuration asks for: from samples, little-endian, to RGB; undefined for none. */
export function colorConversion(config) {
  const { color, photometric, samples, bits, sampleFormat } = config;
  if (color === undefined) return undefined;
  const unsigned = sampleFormat === 1;
  const whole = bits === 8 || bits === 16;
  if (photometric === 3 && samples === 1 && unsigned && bits <= 16) return palette(config);
  if (photometric === 5 && samples === 4 && unsigned && whole) return (bytes) => cmyk(words(bytes, bits), bits);
  if (photometric === 6 && samples === 3 && unsigned && bits === 8) {
    return JPEG.has(config.compression) ? (bytes) => bytes : ycbcr(config);
  }
  if ((photometric === 8 || photometric === 9) && samples === 3 && sampleFormat <= 2 && whole) return lab(config);
  throw refused(`color rgb of photometric ${photometric}, ${samples} samples of ${bits} bits, format ${sampleFormat}`);
}

function words(bytes, bits) {
  return bits > 8 ? new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2) : bytes;
}

function palette({ bits, colorMap }) {
  const count = 2 ** bits;
  if (colorMap?.length !== 6 * count) throw refused(`color_map of ${colorMap?.length ?? 0} bytes for ${bits} bits`);
  const entries = Array.from({ length: 3 * count }, (_, at) => colorMap[2 * at] + 256 * colorMap[2 * at + 1]);
  const narrow = entries.every((entry) => entry < 256);
  const multiples = entries.every((entry) => entry % 256 === 0);
  const map = Uint8Array.from(entries, (entry) => (narrow ? entry : Math.floor(entry / (multiples ? 256 : 257))));
  return (bytes) => {
    const indices = words(bytes, bits);
    const output = new Uint8Array(3 * indices.length);
    for (let at = 0; at < indices.length; at++) {
      for (let band = 0; band < 3; band++) output[3 * at + band] = map[band * count + indices[at]];
    }
    return output;
  };
}

function cmyk(values, bits) {
  const pixels = values.length / 4;
  const output = new Uint8Array(3 * pixels);
  const narrow = (value) => (bits === 16 ? Math.floor(value / 257) : value);
  for (let at = 0; at < pixels; at++) {
    const black = 255 - narrow(values[4 * at + 3]);
    for (let band = 0; band < 3; band++) {
      output[3 * at + band] = Math.floor(((255 - narrow(values[4 * at + band])) * black) / 255);
    }
  }
  return output;
}

function ycbcr({ coefficients = [0.299, 0.587, 0.114], blackWhite = [0, 255, 128, 255, 128, 255] }) {
  const [r, g, b] = coefficients;
  const fixed = (factor) => Math.floor(Math.max(0, Math.min(factor, 2)) * 65536 + 0.5) / 65536;
  if (g <= 0) throw refused(`ycbcr_coefficients ${coefficients}`);
  const flat = [0, 2, 4].some((at) => blackWhite[at] === blackWhite[at + 1]);
  if (flat) throw refused(`reference_black_white ${blackWhite}`);
  const luma = codeToValue(0, 255, blackWhite[0], blackWhite[1]);
  const blues = codeToValue(128, 127, blackWhite[2], blackWhite[3]);
  const reds = codeToValue(128, 127, blackWhite[4], blackWhite[5]);
  const [red, blue] = [2 - 2 * r, 2 - 2 * b];
  const factors = { r: fixed(red), b: fixed(blue), gr: fixed((r * red) / g), gb: fixed((b * blue) / g) };
  const round = (value) => Math.floor(value + 0.5);
  return (bytes) => {
    const output = new Uint8ClampedArray(bytes.length);
    for (let at = 0; at < bytes.length; at += 3) {
      const y = luma[bytes[at]];
      const cb = blues[bytes[at + 1]];
      const cr = reds[bytes[at + 2]];
      output[at] = y + round(factors.r * cr);
      output[at + 1] = y + round(-factors.gr * cr - factors.gb * cb);
      output[at + 2] = y + round(factors.b * cb);
    }
    return new Uint8Array(output.buffer);
  };
}

function codeToValue(middle, range, black, white) {
  const zero = Math.trunc(black - middle);
  return Array.from({ length: 256 }, (_, code) => {
    const value = ((code - middle - zero) * range) / (white - black);
    return Math.trunc(Math.max(-4096, Math.min(value, 4096)));
  });
}

const TO_RGB = [
  [3.241, -1.5374, -0.4986],
  [-0.9692, 1.876, 0.0416],
  [0.0556, -0.204, 1.057],
];

function lab({ bits, photometric, whitePoint = [0.345742, 0.35856] }) {
  const top = 2 ** bits;
  const unit = top / 256;
  const [whiteX, whiteY] = whitePoint;
  if (whiteY <= 0) throw refused(`white_point ${whitePoint}`);
  const white = [(whiteX / whiteY) * 100, 100, ((1 - whiteX - whiteY) / whiteY) * 100];
  const part = photometric === 8 ? (code) => (code >= top / 2 ? code - top : code) / unit : (code) => code / unit - 128;
  const lightness = (code) => (photometric === 8 ? (100 * code) / (top - 1) : (100 * code) / (255 * unit));
  return (bytes) => {
    const values = words(bytes, bits);
    const output = new Uint8Array(values.length);
    for (let at = 0; at < values.length; at += 3) {
      const level = lightness(values[at]);
      const dark = level < 8.856;
      const y = dark ? level / 903.292 : ((level + 16) / 116) ** 3;
      const f = dark ? 7.787 * y + 16 / 116 : (level + 16) / 116;
      const xyz = [white[0] * cube(f + part(values[at + 1]) / 500), 100 * y, white[2] * cube(f - part(values[at + 2]) / 200)];
      for (let band = 0; band < 3; band++) {
        const light = TO_RGB[band].reduce((sum, factor, axis) => sum + factor * xyz[axis], 0);
        const index = Math.floor((1500 * (Math.min(Math.max(light, 1), 100) - 1)) / 99);
        output[at + band] = Math.floor(255 * (index / 1500) ** (1 / 2.4) + 0.5);
      }
    }
    return output;
  };
}

/** The inverse of CIE 1976's f, with libtiff's constants. */
const cube = (t) => (t < 0.2069 ? (t - 16 / 116) / 7.787 : t ** 3);
