// The Zarr codec `virtual_tiff.segment`, decoding only, as docs/segment-codec.md specifies it. Without dependencies.
import { colorConversion } from "./color.mjs";
import { parse } from "./configuration.mjs";
import { corrupt, missing, SegmentError, short } from "./errors.mjs";
import { inflate } from "./inflate.mjs";
import { unLzw } from "./lzw.mjs";
import { unPackBits } from "./packbits.mjs";
import { pixarLog } from "./pixarlog.mjs";
import { unpredict } from "./predictor.mjs";
import { next, thunderscan } from "./runs.mjs";
import { inPlanes, reverseBits, unpack, unpackBlocks } from "./samples.mjs";
import { sgiLog } from "./sgilog.mjs";

export { SegmentError };

// Streams: (bytes, length) => bytes. Images: config => bytes => samples.
const STREAMS = { none: (bytes) => bytes, lzw: unLzw, deflate: inflate, packbits: unPackBits };
const IMAGES = { next, thunderscan, pixarlog: pixarLog, sgilog: sgiLog, sgilog24: sgiLog };

/**
 * A codec for zarrita's registry, with further decompressors by name (see README.md):
 * `registry.set("virtual_tiff.segment", () => segmentCodec({ zstd: (bytes, length) => ... }))`.
 */
export function segmentCodec(decompressors = {}) {
  return { fromConfig: (configuration) => new SegmentCodec(configuration, decompressors) };
}

export class SegmentCodec {
  // also where the codec makes a chunk of an array: zarrita then reads its bytes as little-endian samples, as they are
  kind = "bytes_to_bytes";

  static fromConfig(configuration) {
    return new SegmentCodec(configuration);
  }

  constructor(configuration, decompressors = {}) {
    this.config = parse(configuration);
    const { decompressor, compression } = this.config;
    this.convert = colorConversion(this.config);
    this.decompress = STREAMS[decompressor] ?? IMAGES[decompressor]?.(this.config) ?? decompressors[decompressor];
    if (this.decompress === undefined) {
      throw missing(`no decompressor "${decompressor}", which compression ${compression} needs`);
    }
  }

  encode() {
    throw new SegmentError("codec-config", "segments are only decoded");
  }

  /** The samples of one full segment, little-endian, from the bytes of the file. */
  async decode(bytes) {
    if (!(bytes instanceof Uint8Array)) throw new TypeError("a segment is a Uint8Array");
    if (bytes.length === 0) throw short("a segment of no bytes");
    const { config } = this;
    const held = config.stream ? await this.readStream(bytes) : await this.readImage(bytes);
    const pixels = this.convert === undefined ? held : this.convert(held);
    const size = config.rows * config.columns * config.pixelBytes;
    let full = pixels;
    if (pixels.length !== size) {
      full = new Uint8Array(size);
      full.set(pixels.subarray(0, size));
    }
    return config.chunk === "planes" && config.outSamples > 1 ? inPlanes(full, config) : full;
  }

  async readStream(bytes) {
    const { config } = this;
    const { rowBytes, units, lastUnits, compression, predictor, fillOrder } = config;
    const length = units * rowBytes;
    const found = await this.run(fillOrder === 2 ? reverseBits(bytes) : bytes, length);
    const whole = Math.min(Math.floor(found.length / rowBytes), units);
    if (whole !== units && whole !== lastUnits) throw short(`${whole} rows of ${units} in the stream`);
    if (compression === 1 && whole < units && found.length % rowBytes !== 0) throw short("a row that is not whole");
    const stream = new Uint8Array(found.subarray(0, whole * rowBytes)); // a copy, as what follows works in place
    if (predictor !== 1) unpredict(stream, config);
    const order = predictor === 1 ? config.byteOrder : "little";
    return config.subsampled ? unpackBlocks(stream, whole, order, config) : unpack(stream, whole, order, config);
  }

  async readImage(bytes) {
    const { rows, lastRows, columns, samples, size, exact } = this.config;
    const found = await this.run(bytes, this.config.configuration);
    const whole = found.length / (columns * samples * size);
    if (!Number.isInteger(whole)) throw corrupt(`an image of ${found.length} bytes`);
    const fits = exact ? whole === rows || whole === lastRows : whole >= (lastRows ?? rows);
    if (!fits) throw short(`${whole} rows of ${rows} in the image`);
    return new Uint8Array(found.subarray(0, Math.min(whole, rows) * columns * samples * size));
  }

  async run(bytes, expected) {
    const name = `decompressor "${this.config.decompressor}"`;
    let found;
    try {
      found = await this.decompress(bytes, expected);
    } catch (error) {
      if (error instanceof SegmentError) throw error;
      throw corrupt(`${name}: ${error?.message ?? error}`);
    }
    if (!(found instanceof Uint8Array)) throw new TypeError(`${name} gave no Uint8Array`);
    return found;
  }
}
