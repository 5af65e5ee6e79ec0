// Plays the recorded and the drawn matches in wasm32 and holds debug, release, wasm32 and the record against each other.
//
// In: node compare.mjs MODULE.wasm DEBUG.hashes RELEASE.hashes RECORDED.txt DRAWN
// Out: one line when all agree; else every match that differs, with its first tick. Exit code 0 only when all agree.
import { readFileSync } from 'node:fs';

const [moduleFile, debugFile, releaseFile, recordedFile, drawnCount] = process.argv.slice(2);
const drawn = Number(drawnCount);

/** Hashes as written by `recorded-matches`: 64 bits a tick, match after match; then those of the drawn matches, one each. */
function native(file, matches, ticks) {
  const bytes = readFileSync(file);
  if (bytes.length !== (matches * ticks + drawn) * 8) {
    throw new Error(`${file} has ${bytes.length} bytes, not those of ${matches} matches of ${ticks} ticks and ${drawn} drawn`);
  }
  const numbers = new BigUint64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const played = Array.from({ length: matches }, (_, match) => numbers.slice(match * ticks, (match + 1) * ticks));
  return Object.assign(played, { drawn: numbers.slice(matches * ticks) });
}

function playInWasm(file) {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)));
  const played = Array.from({ length: exports.matches() }, (_, match) => {
    const ticks = exports.play(match);
    return BigUint64Array.from({ length: ticks }, (_, index) => BigInt.asUintN(64, exports.hash_after(index + 1)));
  });
  return Object.assign(played, { drawn: BigUint64Array.from({ length: drawn }, (_, seed) => BigInt.asUintN(64, exports.drawn(seed))) });
}

/** Ticks between two numbers of `hashes.txt`. */
const CHECKPOINT_TICKS = 64;
/** `hashes.txt`: per match, for every 64 ticks (and the rest) the sum of their hashes, its low 32 bits. */
function recorded(file) {
  const lines = readFileSync(file, 'utf8').trim().split('\n').slice(1);
  return lines.map((line) => line.split(': ')[1].split(' ').map((hex) => BigInt(`0x${hex}`)));
}

/** The first tick (from 1 on) in which two builds differ; 0 when they do not. */
const firstDifference = (a, b) => a.findIndex((hash, index) => hash !== b[index]) + 1;
/** The first tick (from 1 on) of the first 64 that are not as recorded; 0 when all are. */
function firstMissed(hashes, sums) {
  for (let from = 0; from < hashes.length; from += CHECKPOINT_TICKS) {
    const sum = hashes.subarray(from, from + CHECKPOINT_TICKS).reduce((sum, hash) => sum + hash, 0n);
    if (BigInt.asUintN(32, sum) !== sums[from / CHECKPOINT_TICKS]) return from + 1;
  }
  return 0;
}

// A comparison that finds nothing must be able to find something.
const sample = BigUint64Array.from([7n, 8n, 9n]);
const flipped = BigUint64Array.from([7n, 8n, 9n ^ (1n << 63n)]);
const found = [firstDifference(sample, sample), firstDifference(sample, flipped), firstMissed(sample, [24n]), firstMissed(sample, [25n])];
if (found.join() !== '0,3,0,1') {
  throw new Error('the comparison does not see a flipped bit');
}

const wasm = playInWasm(moduleFile);
const [matches, ticks] = [wasm.length, wasm[0].length];
const builds = { debug: native(debugFile, matches, ticks), release: native(releaseFile, matches, ticks), wasm32: wasm };
const record = recorded(recordedFile);
const differences = [];
if (matches !== 100 || ticks !== 3600 || wasm.some((hashes) => hashes.length !== ticks) || record.length !== matches) {
  differences.push(`${matches} matches of ${ticks} ticks against ${record.length} recorded: expected 100 of 3600`);
}
for (let match = 0; match < matches; match += 1) {
  for (const [one, other] of [['debug', 'release'], ['debug', 'wasm32'], ['release', 'wasm32']]) {
    const tick = firstDifference(builds[one][match], builds[other][match]);
    if (tick) {
      const [a, b] = [one, other].map((name) => builds[name][match][tick - 1].toString(16).padStart(16, '0'));
      differences.push(`match ${match}, tick ${tick}: ${one} ${a}, ${other} ${b}`);
    }
  }
  for (const [name, played] of Object.entries(builds)) {
    const tick = firstMissed(played[match], record[match] ?? []);
    if (tick) differences.push(`match ${match}: ${name} is not as recorded between ticks ${tick} and ${Math.min(tick + 63, ticks)}`);
  }
}
for (const [one, other] of [['debug', 'release'], ['debug', 'wasm32']]) {
  for (let seed = 0; seed < drawn; seed += 1) {
    if (builds[one].drawn[seed] !== builds[other].drawn[seed]) differences.push(`drawn match of seed ${seed}: ${one} and ${other} differ`);
  }
}
if (!(drawn > 0) || new Set(wasm.drawn).size !== drawn) differences.push(`${drawn} drawn matches of ${new Set(wasm.drawn).size} kinds`);
if (differences.length) {
  console.log(differences.slice(0, 40).join('\n'));
  console.log(`${differences.length} differences in ${matches} matches`);
  process.exit(1);
}
console.log(`${matches} matches x ${ticks.toLocaleString('en')} ticks, and ${drawn} drawn matches (seeds 0 to ${drawn - 1}): debug = release = wasm32`);
