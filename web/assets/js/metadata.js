// A picture written by a canvas has lost what the service wrote into its PNG, among it the label of AI pictures
// (GB 45438-2025: a field whose name contains "AIGC"). This carries it over: PNG texts into PNG, or as XMP into JPEG and WebP.

const ascii = (bytes, at, n) => String.fromCharCode(...bytes.subarray(at, at + n));
const text_bytes = (text) => new TextEncoder().encode(text);
const join = (...parts) => new Uint8Array(parts.reduce((all, p) => (all.push(...p), all), []));

/** The text chunks of a PNG: [{raw, keyword, text}]. */
async function png_texts(bytes) {
  const texts = [];
  if (ascii(bytes, 1, 3) !== 'PNG') return texts;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const end = at + 12 + length;
    if (end > bytes.length) break;
    const type = ascii(bytes, at + 4, 4);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'tEXt' || type === 'iTXt') {
      const zero = body.indexOf(0);
      const keyword = ascii(body, 0, zero);
      let text = '';
      if (type === 'tEXt') text = String.fromCharCode(...body.subarray(zero + 1));
      else {
        const packed = body[zero + 1] === 1;
        const language = body.indexOf(0, zero + 3);
        const content = body.subarray(body.indexOf(0, language + 1) + 1);
        text = packed ? await new Response(new Blob([content]).stream().pipeThrough(new DecompressionStream('deflate'))).text() : new TextDecoder().decode(content);
      }
      texts.push({ raw: bytes.subarray(at, end), keyword, text });
    }
    at = end;
  }
  return texts;
}

function xmp_of(texts) {
  const own = texts.find((t) => t.keyword === 'XML:com.adobe.xmp');
  if (own) return own.text;
  const label = texts.find((t) => t.keyword.includes('AIGC'));
  if (!label) return null;
  const escaped = label.text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  return `<?xpacket begin="\uFEFF" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"><TC260:AIGC>${escaped}</TC260:AIGC></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>`;
}

function into_jpeg(bytes, xmp) {
  const body = join(text_bytes('http://ns.adobe.com/xap/1.0/\0'), text_bytes(xmp));
  const size = body.length + 2;
  if (size > 65535) return null;
  let at = 2; // after JFIF, which comes first
  if (bytes[2] === 0xff && bytes[3] === 0xe0) at = 4 + bytes[4] * 256 + bytes[5];
  return [bytes.subarray(0, at), new Uint8Array([0xff, 0xe1, size >> 8, size & 255]), body, bytes.subarray(at)];
}

const le = (value, n) => Uint8Array.from({ length: n }, (_, i) => (value / 256 ** i) & 255);
const riff = (name, body) => [text_bytes(name), le(body.length, 4), body, new Uint8Array(body.length % 2)];

function into_webp(bytes, xmp, width, height) {
  if (ascii(bytes, 0, 4) !== 'RIFF' || ascii(bytes, 8, 4) !== 'WEBP') return null;
  let rest = bytes.subarray(12);
  let head = new Uint8Array([0, 0, 0, 0, ...le(width - 1, 3), ...le(height - 1, 3)]);
  if (ascii(rest, 0, 4) === 'VP8X') {
    head = rest.slice(8, 18);
    rest = rest.subarray(18);
  } else if (ascii(rest, 0, 4) === 'VP8L' && rest[12] & 0x10) head[0] |= 0x10; // alpha
  head[0] |= 0x04; // an XMP chunk follows
  const parts = [text_bytes('WEBP'), ...riff('VP8X', head), rest, ...riff('XMP ', text_bytes(xmp))];
  return [text_bytes('RIFF'), le(parts.reduce((n, p) => n + p.length, 0), 4), ...parts];
}

/** made, with the texts of source (the service's PNG) in it; made itself when there are none. */
export async function carry_labels(source, made, width, height) {
  const texts = await png_texts(new Uint8Array(await source.arrayBuffer()));
  if (!texts.length) return made;
  const bytes = new Uint8Array(await made.arrayBuffer());
  let parts = null;
  if (made.type === 'image/png') parts = [bytes.subarray(0, 33), ...texts.map((t) => t.raw), bytes.subarray(33)]; // 33: signature and IHDR
  else {
    const xmp = xmp_of(texts);
    if (xmp) parts = made.type === 'image/jpeg' ? into_jpeg(bytes, xmp) : into_webp(bytes, xmp, width, height);
  }
  return parts ? new Blob(parts, { type: made.type }) : made;
}
