// The configuration of an array, checked: whatever is not understood is refused before a pixel is read.
import { refused } from "./errors.mjs";
import { DISTANCES, FLOATING } from "./predictor.mjs";
import { outputType } from "./samples.mjs";

/** Compressions whose decoders give bytes, and those whose decoders give samples. */
export const STREAMS = { 1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits", 34925: "lzma", 50000: "zstd" };
export const IMAGES = {
  ...{ 2: "ccitt", 3: "ccitt", 4: "ccitt", 6: "old-jpeg", 7: "jpeg", 33007: "jpeg", 34892: "jpeg", 50001: "webp" },
  ...{ 33003: "jpeg2000", 33004: "jpeg2000", 33005: "jpeg2000", 34712: "jpeg2000", 50002: "jpegxl", 52546: "jpegxl" },
  ...{ 34933: "png", 22610: "jpegxr", 34934: "jpegxr", 34887: "lerc" },
  ...{ 32766: "next", 32809: "thunderscan", 32909: "pixarlog", 34676: "sgilog", 34677: "sgilog24" },
};
// images that must have the rows of a segment, full or short; others may have more
const EXACT = new Set([32766, 32809, 32909, 34676, 34677, 50001, 50002, 52546, 22610, 34934]);
const PREDICTED = new Set([5, 8, 32946, 34925, 50000]);
export const JPEG = new Set([6, 7, 33007, 34892]);
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const isInteger = (value) => Number.isSafeInteger(value);
const isCount = (value) => isInteger(value) && value >= 1;
const integer = (value) => (isInteger(value) && value >= 0 ? value : undefined);
const count = (value) => (isCount(value) ? value : undefined);
const oneOf = (...values) => (value) => (values.includes(value) ? value : undefined);
const list = (length, test) => (value) =>
  Array.isArray(value) && (length === undefined || value.length === length) && value.every(test) ? [...value] : undefined;
const depths = (value) => (isCount(value) ? value : list(undefined, isCount)(value));

function bytes(value) {
  if (typeof value !== "string" || !BASE64.test(value)) return undefined;
  return Uint8Array.from(atob(value), (character) => character.charCodeAt(0));
}

/** Every field: what it may hold (undefined refuses), and its default. */
const FIELDS = {
  compression: [integer],
  columns: [count],
  rows: [count],
  last_rows: [count],
  samples: [count, 1],
  bits_per_sample: [depths, 8],
  sample_format: [oneOf(1, 2, 3, 4, 5, 6), 1],
  byte_order: [oneOf("little", "big"), "little"],
  predictor: [oneOf(1, ...Object.keys(DISTANCES).map(Number)), 1],
  fill_order: [oneOf(1, 2), 1],
  photometric: [integer],
  subsampling: [list(2, isCount)],
  t4_options: [integer],
  t6_options: [integer],
  jpeg_tables: [bytes],
  lerc_parameters: [list(undefined, isInteger)],
  color: [oneOf("rgb")],
  color_map: [bytes],
  ycbcr_coefficients: [list(3, Number.isFinite)],
  reference_black_white: [list(6, Number.isFinite)],
  white_point: [list(2, Number.isFinite)],
  chunk: [oneOf("planes", "pixels")],
};
const REQUIRED = ["compression", "columns", "rows"];

function readFields(configuration) {
  if (typeof configuration !== "object" || configuration === null || Array.isArray(configuration)) {
    throw refused("the configuration is not an object");
  }
  const fields = Object.fromEntries(Object.entries(FIELDS).map(([name, [, standard]]) => [name, standard]));
  for (const [name, value] of Object.entries(configuration)) {
    if (!Object.hasOwn(FIELDS, name)) throw refused(`unknown field ${name}`);
    fields[name] = FIELDS[name][0](value);
    if (fields[name] === undefined) throw refused(`${name} must not be ${JSON.stringify(value)}`);
  }
  for (const name of REQUIRED) if (fields[name] === undefined) throw refused(`${name} is missing`);
  return fields;
}

/**
 * Check a configuration, and work out what the steps need: `bits` of all samples, or `depths` that differ; `size` in bytes
 * of a sample of the output; `rowBytes` of a stream; `units`, rows or rows of blocks, and `lastUnits` of a short strip.
 */
export function parse(configuration) {
  const fields = readFields(configuration);
  const { compression, columns, rows, samples, last_rows: lastRows } = fields;
  if (!(compression in STREAMS) && !(compression in IMAGES)) throw refused(`unknown compression ${compression}`);
  if (lastRows !== undefined && lastRows >= rows) throw refused(`last_rows ${lastRows} of rows ${rows}`);
  const config = {
    ...{ compression, columns, rows, lastRows, samples, predictor: fields.predictor, fillOrder: fields.fill_order },
    ...{ sampleFormat: fields.sample_format, byteOrder: fields.byte_order, photometric: fields.photometric },
    ...{ subsampling: fields.subsampling, color: fields.color, colorMap: fields.color_map, configuration },
    ...{ coefficients: fields.ycbcr_coefficients, blackWhite: fields.reference_black_white, whitePoint: fields.white_point },
    chunk: fields.chunk,
    stream: compression in STREAMS,
    exact: EXACT.has(compression),
    decompressor: STREAMS[compression] ?? IMAGES[compression],
  };
  Object.assign(config, readDepths(fields));
  config.outSamples = config.color === undefined ? samples : 3;
  config.pixelBytes = config.color === undefined ? samples * config.size : 3;
  checkPredictor(config);
  Object.assign(config, rowsOfStream(config));
  return config;
}

function readDepths({ bits_per_sample: found, samples, sample_format: sampleFormat, byte_order: byteOrder, compression }) {
  const depths = Array.isArray(found) ? found : Array(samples).fill(found);
  if (depths.length !== samples) throw refused(`bits_per_sample has ${depths.length} entries, samples is ${samples}`);
  const pixelBits = depths.reduce((sum, bits) => sum + bits, 0);
  if (depths.every((bits) => bits === depths[0])) {
    return { bits: depths[0], pixelBits, size: outputType(depths[0], sampleFormat).size };
  }
  const unsigned = sampleFormat === 1 || sampleFormat === 4;
  const size = Math.max(...depths.map((bits) => outputType(bits, sampleFormat).size));
  if (!(compression in STREAMS)) return { depths, pixelBits, size };
  if (depths.join() === "5,6,5" && byteOrder === "little" && unsigned) return { depths, pixelBits, size: 1, packed565: true };
  if (sampleFormat > 4 || !depths.every((bits) => [8, 16, 32, 64].includes(bits))) throw refused(`bits_per_sample ${depths}`);
  return { depths, pixelBits, size };
}

function checkPredictor({ predictor, compression, bits, sampleFormat, columns }) {
  if (predictor === 1) return;
  if (!PREDICTED.has(compression)) throw refused(`predictor ${predictor} with compression ${compression}`);
  const floating = FLOATING.has(predictor);
  const fits = floating
    ? sampleFormat === 3 && [16, 24, 32, 64].includes(bits)
    : [8, 16, 32, 64].includes(bits) && (predictor === 2 || [1, 2, 4].includes(sampleFormat));
  if (!fits) throw refused(`predictor ${predictor} with bits_per_sample ${bits} and sample_format ${sampleFormat}`);
  if (columns % DISTANCES[predictor] !== 0) throw refused(`predictor ${predictor} with columns ${columns}`);
}

function rowsOfStream({ stream, subsampling, columns, rows, lastRows, samples, pixelBits, bits, sampleFormat, predictor }) {
  const rowBytes = Math.ceil((columns * pixelBits) / 8);
  if (!stream || subsampling === undefined || subsampling.join() === "1,1") {
    return { subsampled: false, rowBytes, units: rows, lastUnits: lastRows };
  }
  const [h, v] = subsampling;
  const fits = samples === 3 && (bits === 8 || bits === 16) && sampleFormat <= 4;
  if (!fits) throw refused(`subsampling ${subsampling} of ${samples} samples of ${bits} bits`);
  if (predictor !== 1) throw refused(`subsampling ${subsampling} with predictor ${predictor}`);
  return {
    subsampled: true,
    rowBytes: (Math.ceil(columns / h) * (h * v + 2) * bits) / 8,
    units: Math.ceil(rows / v),
    lastUnits: lastRows === undefined ? undefined : Math.ceil(lastRows / v),
  };
}
