// node answer.mjs vectors FOLDER OUT   answers to every vector file in FOLDER, and merkle.json made by SimpleMerkleTree, written to OUT
// node answer.mjs sessions FILE        answers to the random sessions in FILE, on standard output
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SimpleMerkleTree } from '@openzeppelin/merkle-tree'
import { Refusal, bytes, digest, domainSeparator, encodeType, hex, keccak, readEpoch, readFrame, readLog, recover, structHash } from './evidence.mjs'
import { bill, tariffHash } from './pricing.mjs'

const read = path => JSON.parse(readFileSync(path, 'utf8'))
const tidy = (_, value) => typeof value === 'bigint' ? Number(value) : value
const rows = entries => `{"vectors":[\n${entries.map(entry => JSON.stringify(entry, tidy)).join(',\n')}\n]}\n`
const attempt = work => {
  try { return work() } catch (error) {
    if (error instanceof Refusal) return { refusal: error.kind }
    throw error
  }
}

const answers = {
  'structs.json': ({ name, type, domain, message, signature }) => ({
    name, encodeType: encodeType(type), domainSeparator: hex(domainSeparator(domain)), structHash: hex(structHash(type, message)),
    digest: hex(digest(domain, type, message)), ...attempt(() => ({ recovered: recover(digest(domain, type, message), bytes(signature)) }))
  }),
  'frames.json': ({ name, frame, meterKey }) => ({ name, ...attempt(() => ({ digest: readFrame(frame, meterKey).digest })) }),
  'logs.json': ({ name, frames, conflicts, registerModulusMilliwattHours }) => {
    const key = frame => recover(digest({ name: 'Wattproof Evidence', version: '1' }, 'Frame', frame), bytes(frame.signature))
    const open = list => list.map(frame => readFrame(frame, key(frames[0])))
    return { name, ...readLog(open(frames), open(conflicts), registerModulusMilliwattHours) }
  },
  'epochs.json': entry => ({ name: entry.name, good: readEpoch(entry) }),
  'pricing.json': entry => ({
    name: entry.name,
    ...attempt(() => {
      const found = bill({ ...entry, records: entry.records.map(record => ({ ...entry.common, ...record })) })
      return tariffHash(entry.tariff) === entry.tariffHash ? { bill: found } : { refusal: 'tariff hash' }
    })
  })
}

function session ({ seed, frames, meterKey, epoch, ...rest }) { // from wire frames to the bill, all checks on the way
  const opened = frames.map(frame => readFrame(frame, meterKey))
  if (!readEpoch({ ...epoch, frames: opened.map(frame => frame.digest) })) throw new Error(`epoch of session ${seed}`)
  return { seed, tariffHash: tariffHash(rest.tariff), lastFrame: opened.at(-1).digest, epochRoot: epoch.root, bill: bill({ ...rest, records: opened.flatMap(f => f.records) }) }
}

function merkle () { // trees and paths as npm's library makes them, and some that are wrong
  const leaf = i => hex(keccak(Buffer.from(`wattproof merkle leaf ${i}`)))
  const tree = (count, sorted) => {
    const leaves = [...Array(count).keys()].map(leaf)
    const made = SimpleMerkleTree.of(leaves, { sortLeaves: sorted })
    const shown = leaves.filter((_, i) => i < 20 || i % 37 === 0)
    return { leaves, root: made.root, paths: shown.map(leaf => ({ leaf, path: made.getProof(leaf) })) }
  }
  const good = [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 100, 256].flatMap(count => [false, true].map(sorted => (
    { name: `${count} leaves, ${sorted ? 'sorted' : 'in order'}`, good: true, fault: '', sorted, ...tree(count, sorted) })))
  const base = tree(6, true)
  const [one, two] = base.paths
  const bad = {
    'wrong root': { root: leaf(99) },
    'path of another leaf': { paths: [{ leaf: one.leaf, path: two.path }] },
    'path cut short': { paths: [{ leaf: one.leaf, path: one.path.slice(0, -1) }] },
    'path too long': { paths: [{ leaf: one.leaf, path: [...one.path, leaf(99)] }] },
    'path out of order': { paths: [{ leaf: one.leaf, path: [...one.path].reverse() }] },
    'changed sibling': { paths: [{ leaf: one.leaf, path: [leaf(99), ...one.path.slice(1)] }] },
    'a leaf that is not in the tree': { paths: [{ leaf: leaf(99), path: one.path }] }
  }
  return [...good, ...Object.entries(bad).map(([fault, change]) => ({ name: fault, good: false, fault, sorted: true, ...base, ...change }))]
}

const [mode, path, out] = process.argv.slice(2)
if (mode === 'sessions') {
  process.stdout.write(rows(read(path).map(session)))
} else {
  writeFileSync(join(out, 'merkle.json'), rows(merkle()))
  const all = Object.entries(answers).map(([file, answer]) => ({ file, answers: read(join(path, file)).vectors.map(answer) }))
  writeFileSync(join(out, 'reference_answers.json'), rows(all.flatMap(({ file, answers }) => answers.map(answer => ({ file, ...answer })))))
}
