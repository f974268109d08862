// The one error of the codec. Its code is one of the page's (docs/segment-codec.md), or "missing-decompressor".

export class SegmentError extends Error {
  constructor(code, message) {
    super(`virtual_tiff.segment: ${message} [${code}]`);
    this.name = "SegmentError";
    this.code = code;
  }
}

export const refused = (message) => new SegmentError("codec-config", message);
export const corrupt = (message) => new SegmentError("corrupt-segment", message);
export const short = (message) => new SegmentError("short-segment", message);
export const missing = (message) => new SegmentError("missing-decompressor", message);
