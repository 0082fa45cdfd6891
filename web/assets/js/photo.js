// Photos: read upright (EXIF), made small enough for the service, written for export.

export class PhotoError extends Error {}

const canvas_of = (width, height) => Object.assign(document.createElement('canvas'), { width, height });

/** The largest size within a long side and an area, never larger than the photo. */
export function fit(width, height, side, area) {
  const k = Math.min(1, side / Math.max(width, height), Math.sqrt(area / (width * height)));
  return { width: Math.max(16, Math.round(width * k)), height: Math.max(16, Math.round(height * k)) };
}

export const to_blob = (canvas, type, quality) => new Promise((resolve, reject) => {
  canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new PhotoError('encode'))), type, quality);
});

/** Halving first keeps fine lines of large photos from turning into moiré. */
function scaled(source, from, to) {
  let now = source;
  let { width, height } = from;
  while (width > to.width * 2 && height > to.height * 2) {
    width = Math.ceil(width / 2);
    height = Math.ceil(height / 2);
    const half = canvas_of(width, height);
    half.getContext('2d').drawImage(now, 0, 0, width, height);
    now = half;
  }
  const out = canvas_of(to.width, to.height);
  const context = out.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.fillStyle = '#fff'; // the service takes RGB: what is transparent becomes paper
  context.fillRect(0, 0, to.width, to.height);
  context.drawImage(now, 0, 0, to.width, to.height);
  return out;
}

/** File -> {blob, url, width, height, name, reduced}; throws PhotoError('type' | 'decode' | 'size'). */
export async function read_photo(file, limits, side) {
  if (!/^image\/(png|jpe?g|webp|gif|bmp|avif)$/.test(file.type)) throw new PhotoError('type');
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' });
  } catch {
    throw new PhotoError('decode');
  }
  if (Math.max(bitmap.width, bitmap.height) > 20 * Math.min(bitmap.width, bitmap.height)) throw new PhotoError('size');
  const to = fit(bitmap.width, bitmap.height, Math.min(side, limits.max_side), 2.4e6);
  const canvas = scaled(bitmap, bitmap, to);
  const reduced = to.width < bitmap.width;
  bitmap.close();
  let blob = await to_blob(canvas, 'image/png');
  for (let quality = 0.95; blob.size > limits.max_image_bytes && quality > 0.4; quality -= 0.1) blob = await to_blob(canvas, 'image/jpeg', quality);
  if (blob.size > limits.max_image_bytes) throw new PhotoError('size');
  return { blob, url: URL.createObjectURL(blob), ...to, name: file.name || 'photo', reduced };
}

export const data_url = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

export async function decoded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/** A size preset of /v1/config: an object or a name that ends in its side, as taobao_800 does. */
export function preset_size(preset) {
  if (typeof preset === 'object') return { name: preset.name ?? preset.id, width: preset.width, height: preset.height ?? preset.width };
  const [, width, height] = /(\d+)(?:x(\d+))?$/.exec(preset) ?? [];
  return { name: preset, width: Number(width) || 0, height: Number(height ?? width) || 0 };
}

/** Whole picture inside width x height, white around it. */
export async function rendered(url, type, quality, size) {
  const image = await decoded(url);
  const width = size?.width || image.naturalWidth;
  const height = size?.height || image.naturalHeight;
  const canvas = canvas_of(width, height);
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = 'high';
  const k = Math.min(width / image.naturalWidth, height / image.naturalHeight);
  const w = image.naturalWidth * k;
  const t = image.naturalHeight * k;
  context.drawImage(image, (width - w) / 2, (height - t) / 2, w, t);
  return to_blob(canvas, type, quality);
}

/** |a - b| of two pictures, stretched so that small changes show. */
export async function difference(canvas, url_a, url_b) {
  const [a, b] = await Promise.all([decoded(url_a), decoded(url_b)]);
  canvas.width = b.naturalWidth;
  canvas.height = b.naturalHeight;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.globalCompositeOperation = 'source-over';
  context.drawImage(a, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = 'difference';
  context.drawImage(b, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  let changed = 0;
  for (let i = 0; i < pixels.data.length; i += 4) {
    const d = Math.max(pixels.data[i], pixels.data[i + 1], pixels.data[i + 2]);
    if (d > 12) changed++; // 12 of 255: above what an encoder changes by itself
    for (let c = 0; c < 3; c++) pixels.data[i + c] = Math.min(255, pixels.data[i + c] * 3);
  }
  context.globalCompositeOperation = 'source-over';
  context.putImageData(pixels, 0, 0);
  return changed / (canvas.width * canvas.height);
}
