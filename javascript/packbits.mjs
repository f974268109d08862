// PackBits (TIFF 6, section 9).

/** The first `length` bytes that a PackBits stream holds, or fewer when it ends before. */
export function unPackBits(input, length) {
  const output = new Uint8Array(length);
  let out = 0;
  let at = 0;
  while (out < length && at < input.length) {
    const head = input[at++];
    if (head === 128) continue;
    if (head < 128) {
      const count = Math.min(head + 1, input.length - at, length - out);
      output.set(input.subarray(at, at + count), out);
      at += count;
      out += count;
    } else if (at < input.length) {
      const end = Math.min(out + 257 - head, length);
      output.fill(input[at++], out, end);
      out = end;
    }
  }
  return output.subarray(0, out);
}
