// Verification of frames, logs and epochs, naively, from docs/walls.md: the type strings are read out of that page itself.
// Slow on purpose: every hash by the book, every rule once, nothing shared with the Python it checks.
import { readFileSync } from 'node:fs'
import { keccak_256 } from '@noble/hashes/sha3'
import { secp256k1 } from '@noble/curves/secp256k1'
import { SimpleMerkleTree } from '@openzeppelin/merkle-tree'

export class Refusal extends Error {
  constructor (kind, why) { super(why); this.kind = kind }
}
export const refuse = (kind, why) => { throw new Refusal(kind, why) }
const require = (condition, why, kind = 'malformed') => condition || refuse(kind, why)

export const bytes = hex => Uint8Array.from(Buffer.from(hex.slice(2), 'hex'))
export const hex = raw => '0x' + Buffer.from(raw).toString('hex')
export const keccak = (...parts) => keccak_256(Buffer.concat(parts))
const ascii = text => Buffer.from(text, 'utf8')
const uint = (value, size) => Buffer.from(BigInt.asUintN(size * 8, BigInt(value)).toString(16).padStart(size * 2, '0'), 'hex')

// ---- EIP-712, generic -------------------------------------------------------------------------------------------------------------
const walls = readFileSync(new URL('../../docs/walls.md', import.meta.url), 'utf8')
export const types = {}
for (const [, name, members] of walls.matchAll(/^([A-Z][A-Za-z]+)\(([a-z0-9]+ [^)]*|Terms terms,[^)]*)\)/gm)) {
  types[name] = members.split(',').map(member => member.split(' '))
}

export function encodeType (name) {
  const plain = n => `${n}(${types[n].map(m => m.join(' ')).join(',')})`
  const nested = types[name].map(([kind]) => kind).filter(kind => kind in types).sort()
  return plain(name) + nested.map(plain).join('')
}

function word (kind, value) {
  if (kind in types) return structHash(kind, value)
  if (kind === 'bool') return uint(value ? 1 : 0, 32)
  if (kind === 'address') return uint(BigInt(value), 32)
  if (kind.startsWith('bytes')) return bytes(value)
  return uint(value, 32)
}
export const structHash = (name, message) =>
  keccak(keccak(ascii(encodeType(name))), ...types[name].map(([kind, member]) => word(kind, message[member])))

export function domainSeparator ({ name, version, chainId, verifyingContract }) {
  const fields = 'string name,string version' + (chainId === undefined ? '' : ',uint256 chainId,address verifyingContract')
  const rest = chainId === undefined ? [] : [uint(chainId, 32), uint(BigInt(verifyingContract), 32)]
  return keccak(keccak(ascii(`EIP712Domain(${fields})`)), keccak(ascii(name)), keccak(ascii(version)), ...rest)
}
export const digest = (domain, name, message) => keccak(Uint8Array.of(0x19, 0x01), domainSeparator(domain), structHash(name, message))

const EVIDENCE = { name: 'Wattproof Evidence', version: '1' }

// ---- signatures -------------------------------------------------------------------------------------------------------------------
export function recover (hash, signature) {
  const no = why => refuse('bad signature', why)
  if (signature.length !== 65) no('not 65 bytes')
  const [r, s, v] = [signature.slice(0, 32), signature.slice(32, 64), signature[64]]
  if (v !== 27 && v !== 28) no('v is neither 27 nor 28')
  const number = part => BigInt(hex(part))
  if (number(s) > secp256k1.CURVE.n / 2n) no('high s')
  try {
    const key = new secp256k1.Signature(number(r), number(s)).addRecoveryBit(v - 27).recoverPublicKey(hash)
    return hex(keccak(key.toRawBytes(false).slice(1)).slice(12))
  } catch { no('no key makes this signature') }
}

// ---- a frame on the wire ----------------------------------------------------------------------------------------------------------
const SIZES = { uint8: 8, uint32: 32, uint64: 53 } // 53: every door refuses larger JSON integers
function checked (kind, value, why) {
  if (kind === 'bytes32') require(typeof value === 'string' && /^0x[0-9a-f]{64}$/.test(value), why)
  else if (kind === 'int64') require(Number.isSafeInteger(value), why)
  else require(Number.isSafeInteger(value) && value >= 0 && value < 2 ** SIZES[kind], why)
  return value
}
const sameKeys = (object, names, why) =>
  require(object && typeof object === 'object' && !Array.isArray(object) && JSON.stringify(Object.keys(object).sort()) === JSON.stringify([...names].sort()), why)

function readRecord (device, wire) {
  const names = types.Record.filter(([, n]) => n !== 'device' && n !== 'detailsHash')
  sameKeys(wire, [...names.map(([, n]) => n), 'details'], 'record fields')
  require(Array.isArray(wire.details) && wire.details.length <= 64, 'details')
  const packed = wire.details.map(item => {
    require(Array.isArray(item) && item.length === 2, 'a detail')
    const [obis, raw] = item
    require(typeof obis === 'string' && /^[\x00-\x7f]{0,32}$/.test(obis), 'an OBIS code')
    require(typeof raw === 'string' && /^0x([0-9a-f]{2}){0,256}$/.test(raw), 'raw bytes')
    return Buffer.concat([uint(obis.length, 1), ascii(obis), uint((raw.length - 2) / 2, 2), bytes(raw)])
  })
  const record = { device, detailsHash: hex(keccak(...packed)) }
  for (const [kind, name] of names) record[name] = checked(kind, wire[name], name)
  return record
}

export const recordHash = record => hex(structHash('Record', record))

export function readFrame (wire, meterKey) {
  sameKeys(wire, [...types.Frame.map(([, n]) => n), 'signature', 'records'], 'frame fields')
  for (const [kind, name] of types.Frame) checked(kind, wire[name], name)
  require(typeof wire.signature === 'string' && /^0x[0-9a-f]{130}$/.test(wire.signature), 'signature')
  require(Array.isArray(wire.records) && wire.records.length >= 1 && wire.records.length <= 256, 'records')
  const records = wire.records.map(record => readRecord(wire.device, record))
  records.forEach((record, i) => require(record.sequence === wire.firstSequence + i, `record ${wire.firstSequence + i} is missing`))
  require(records.length === wire.count, 'count')
  const root = SimpleMerkleTree.of(records.map(recordHash), { sortLeaves: false }).root
  require(root === wire.recordsRoot, 'root')
  const hash = digest(EVIDENCE, 'Frame', wire)
  const signer = recover(hash, bytes(wire.signature))
  require(signer === meterKey, 'another key', 'bad signature')
  return { digest: hex(hash), signer, frame: wire, records }
}

// ---- several frames in a row ------------------------------------------------------------------------------------------------------
export function readLog (frames, conflicts, modulus) {
  const problems = new Set()
  let rolledBack = false
  const seen = []
  const ends = frame => Math.max(...frame.records.map(record => record.endS))
  frames.forEach((now, i) => {
    const before = frames[i - 1]
    if (!before || before.frame.incarnation !== now.frame.incarnation) {
      if (seen.includes(now.frame.incarnation)) problems.add('incarnations')
      seen.push(now.frame.incarnation)
    }
    if (!before) return
    const parent = frames.slice(0, i).findLastIndex(frame => frame.digest === now.frame.previousFrame)
    const next = frame => frame.frame.firstSequence + frame.frame.count
    if (parent >= 0 && parent < i - 1 && before.frame.incarnation !== now.frame.incarnation) { // goes on from an older frame
      if (now.frame.firstSequence !== next(frames[parent])) problems.add('sequence')
      const left = Math.max(...frames.slice(parent + 1, i).map(ends))
      if (now.records[0].startS < left) problems.add('equivocation')
      else rolledBack = true
    } else {
      if (parent !== i - 1) problems.add('frame-chain')
      if (now.frame.firstSequence !== next(before)) problems.add('sequence')
    }
  })
  let register = null
  for (const record of frames.flatMap(frame => frame.records)) {
    if (record.flags & (1 << 10)) continue
    const rolled = record.flags & (1 << 8) ? modulus : 0
    if (register !== null && record.importMilliwattHours + rolled < register) problems.add('registers')
    register = record.importMilliwattHours
  }
  const place = ({ frame }) => `${frame.device} ${frame.incarnation} ${frame.firstSequence}`
  for (const other of conflicts) {
    if (frames.some(frame => place(frame) === place(other) && frame.digest !== other.digest)) problems.add('equivocation')
  }
  return { problems: [...problems].sort(), rolledBack }
}

// ---- epochs -----------------------------------------------------------------------------------------------------------------------
export function readEpoch ({ frames, paths, root, previousHead, timeS, head }) {
  return SimpleMerkleTree.of(frames).root === root && hex(keccak(bytes(previousHead), bytes(root), uint(timeS, 8))) === head &&
    paths.every(({ leaf, path }) => frames.includes(leaf) && SimpleMerkleTree.verify(root, leaf, path))
}
