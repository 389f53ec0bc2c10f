// Worker threads that come and go: each compresses, hashes, parses and sorts, and hands buffers on. The hash is always the same.
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const crypto = require("crypto"), zlib = require("zlib");

function work(seed) {
  const hash = crypto.createHash("sha256");
  let state = seed + 1;
  const random = n => (state = (state * 48271) % 2147483647) % n;
  for (let round = 0; round < 25; round++) {
    const items = Array.from({ length: 2000 }, (_, i) => ({ id: random(1e6), text: "t".repeat(random(60)) + i, list: [i, random(9)] }));
    items.sort((a, b) => a.id - b.id || a.list[0] - b.list[0]);
    const text = JSON.stringify(items), packed = zlib.gzipSync(text, { level: 3 });
    if (zlib.gunzipSync(packed).toString() !== text) throw new Error("what was packed differs");
    const buffers = Array.from({ length: 200 }, (_, i) => Buffer.alloc(random(60000), i));
    hash.update(Buffer.concat(buffers.slice(0, 40))).update(JSON.stringify(JSON.parse(text).slice(0, 500)));
    hash.update(zlib.brotliDecompressSync(zlib.brotliCompressSync(text.slice(0, 20000), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } })));
  }
  return hash.digest();
}

function start(seed) {
  return new Promise((resolve, reject) => {
    const given = new Uint8Array(1 << 20).fill(seed);
    const worker = new Worker(__filename, { workerData: { seed, given }, transferList: [given.buffer] });
    let found;
    worker.on("message", data => { found = data; });
    worker.on("error", reject);
    worker.on("exit", code => code ? reject(new Error(`worker ${seed}: ${code}`)) : resolve(found));
  });
}

async function main(count, rounds) {
  const hash = crypto.createHash("sha256");
  for (let round = 0; round < rounds; round++) {
    const found = await Promise.all(Array.from({ length: count }, (_, k) => start(round * count + k)));
    found.forEach(each => hash.update(each));
    // One that is stopped in the middle of its work.
    const stopped = new Worker(__filename, { workerData: { seed: 1, given: new Uint8Array(9) } });
    await new Promise(resolve => setTimeout(resolve, 60));
    await stopped.terminate();
  }
  console.log(hash.digest("hex"), "from", count * rounds, "workers");
}

if (isMainThread) main(Number(process.argv[2]), Number(process.argv[3]));
else {
  const digest = work(workerData.seed);
  const copy = new Uint8Array(digest);
  parentPort.postMessage(copy, [copy.buffer]);
}
