// The gallery of this browser: pictures stay here (IndexedDB) and are sent nowhere.

const open = () => new Promise((resolve, reject) => {
  const request = indexedDB.open('inkling', 1);
  request.onupgradeneeded = () => request.result.createObjectStore('pictures', { keyPath: 'id', autoIncrement: true });
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

async function run(mode, act) {
  const db = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = db.transaction('pictures', mode);
      const request = act(transaction.objectStore('pictures'));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    db.close();
  }
}

/** {blob, prompt, seed, created} -> id */
export const keep = (entry) => run('readwrite', (store) => store.add(entry));
export const all = () => run('readonly', (store) => store.getAll());
export const remove = (id) => run('readwrite', (store) => store.delete(id));
export const empty = () => run('readwrite', (store) => store.clear());
