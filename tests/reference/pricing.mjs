// Pricing, naively, from docs/decisions/pricing.md. Where the Python expands bands of UTC, this looks at the clock on the wall of every
// minute; where that remembers cells, this asks every element every time. All sums are BigInt.
import { hex, keccak, refuse } from './evidence.mjs'

const PPM = 1_000_000n
const UNIT = { ENERGY: 1_000_000n, TIME: 3600n, PARKING_TIME: 3600n, FLAT: 1n }
const PRICE = { ENERGY: 'microPerKwh', TIME: 'microPerHour', PARKING_TIME: 'microPerHour', FLAT: 'microPerSession' }
const DAYS = ['MONDAY', 'TUESDAY', 'WEDNESDAY', 'THURSDAY', 'FRIDAY', 'SATURDAY', 'SUNDAY']
const LIMITS = { Power: 'Milliwatts', Duration: 'S', '': 'MilliwattHours' }
const LONGEST_S = 62 * 86_400

// ---- the document -----------------------------------------------------------------------------------------------------------------
const canonical = value => { // RFC 8785: sorted keys, numbers and strings as ECMAScript writes them
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  return `{${Object.keys(value).sort().map(key => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`
}
export const tariffHash = tariff => hex(keccak(Buffer.from(canonical(tariff))))

function checkTariff (tariff) {
  const must = (condition, why) => condition || refuse('Malformed', why)
  const whole = (value, least, most) => must(Number.isSafeInteger(value) && value >= least && value <= most, `${value}`)
  const keys = (object, needed, allowed = []) => {
    must(object && typeof object === 'object' && !Array.isArray(object) && needed.every(key => key in object), 'a field is missing')
    must(Object.keys(object).every(key => [...needed, ...allowed].includes(key)), 'an unknown field')
  }
  keys(tariff, ['id', 'version', 'currency', 'timeZone', 'elements'], ['minPrice'])
  must(/^[!-~]{1,36}$/.test(tariff.id) && /^[A-Z]{3}$/.test(tariff.currency), 'id or currency')
  whole(tariff.version, 1, 2 ** 53 - 1)
  try { new Intl.DateTimeFormat('en', { timeZone: tariff.timeZone }) } catch { must(false, 'timeZone') }
  must(Array.isArray(tariff.elements) && tariff.elements.length >= 1 && tariff.elements.length <= 32, 'elements')
  for (const element of tariff.elements) {
    keys(element, ['priceComponents'], ['restrictions'])
    must(Array.isArray(element.priceComponents) && element.priceComponents.length, 'priceComponents')
    const seen = element.priceComponents.map(component => {
      must(component && component.type in PRICE, 'type')
      keys(component, ['type', PRICE[component.type], 'taxPpm'])
      whole(component[PRICE[component.type]], 0, 10 ** 12)
      whole(component.taxPpm, 0, 1_000_000)
      return component.type
    })
    must(new Set(seen).size === seen.length, 'a type twice in one element')
    if (!('restrictions' in element)) continue
    const r = element.restrictions
    const limits = Object.entries(LIMITS).flatMap(([name, unit]) => [[`min${name}${unit}`, `max${name}${unit}`]])
    keys(r, [], ['startTime', 'endTime', 'dayOfWeek', 'startDate', 'endDate', ...limits.flat()])
    must(Object.keys(r).length, 'restricts nothing')
    for (const name of ['startTime', 'endTime']) must(!(name in r) || /^([01]\d|2[0-3]):[0-5]\d$/.test(r[name]), name)
    must(!('startTime' in r || 'endTime' in r) || (r.startTime ?? '00:00') !== (r.endTime ?? '00:00'), 'the whole day')
    for (const [least, most] of limits) {
      if (least in r) whole(r[least], 1, 2 ** 53 - 1)
      if (most in r) whole(r[most], (r[least] ?? 0) + 1, 2 ** 53 - 1)
      must(!seen.includes('FLAT') || !(least in r || most in r), 'FLAT restricted by more than the clock')
    }
  }
}

// ---- what holds when --------------------------------------------------------------------------------------------------------------
const clocks = {}
function wall (zone, timeS) { // { date: '2026-03-29', time: '01:59', day: 'SUNDAY' } as a clock on the wall reads
  clocks[zone] ??= new Intl.DateTimeFormat('en-CA', {
    timeZone: zone, hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', weekday: 'long'
  })
  const part = Object.fromEntries(clocks[zone].formatToParts(timeS * 1000).map(({ type, value }) => [type, value]))
  return { date: `${part.year}-${part.month}-${part.day}`, time: `${part.hour}:${part.minute}`, day: part.weekday.toUpperCase() }
}

function holds (r, clock, { power, duration, energy }) {
  const start = r.startTime ?? '00:00'
  const end = (r.endTime ?? '00:00') === '00:00' ? '24:00' : r.endTime
  const inTime = start < end ? start <= clock.time && clock.time < end : clock.time >= start || clock.time < end
  const inDays = (!r.dayOfWeek || r.dayOfWeek.includes(clock.day)) && !(clock.date < r.startDate) && !(clock.date >= r.endDate)
  const within = (value, least, most) => !(value < least) && !(value >= most)
  return inTime && inDays && within(power, r.minPowerMilliwatts, r.maxPowerMilliwatts) &&
    within(duration, r.minDurationS, r.maxDurationS) && within(energy, r.minMilliwattHours, r.maxMilliwattHours)
}

// ---- a session --------------------------------------------------------------------------------------------------------------------
export function bill ({ tariff, openedAtS, registerModulusMilliwattHours, handOvers, records }) {
  checkTariff(tariff)
  const lines = {}
  const elements = tariff.elements.map(element => ({
    r: element.restrictions ?? {}, price: Object.fromEntries(element.priceComponents.map(c => [c.type, { price: BigInt(c[PRICE[c.type]]), tax: BigInt(c.taxPpm) }]))
  }))
  const first = (kind, at, state) => {
    const clock = wall(tariff.timeZone, at)
    const found = elements.findIndex(({ r, price }) => kind in price && holds(r, clock, state))
    return found < 0 ? null : found
  }
  const priceOf = (kind, element) => element === null ? { price: 0n, tax: 0n } : elements[element].price[kind]
  const add = (kind, choices, quantity, sequence) => {
    const rate = e => priceOf(kind, e).price * (PPM + priceOf(kind, e).tax)
    const order = e => e === null ? Infinity : e
    const sorted = [...new Set(choices)].sort((a, b) => rate(a) < rate(b) ? -1 : rate(a) > rate(b) ? 1 : order(a) - order(b))
    const line = lines[`${kind} ${sorted[0]}`] ??= { component: kind, element: sorted[0], quantity: 0n, firstSequence: sequence, spanningRecords: 0 }
    line.quantity += BigInt(quantity)
    line.lastSequence = sequence
    line.spanningRecords += sorted.length > 1 ? 1 : 0
  }
  const moments = (from, to) => { // each instant at which something else may begin to hold
    const cuts = elements.flatMap(({ r }) => [r.minDurationS, r.maxDurationS]).filter(n => n !== undefined).map(n => openedAtS + n)
    for (let t = (Math.floor(from / 60) + 1) * 60; t < to; t += 60) cuts.push(t)
    return [from, ...cuts.filter(t => t > from && t < to)]
  }
  const choices = (kind, from, to, before, after, power) => {
    const energies = [before, ...elements.flatMap(({ r }) => [r.minMilliwattHours, r.maxMilliwattHours]).filter(n => n > before && n < after)]
    return moments(from, to).flatMap(at => energies.map(energy => first(kind, at, { power, duration: Math.max(0, at - openedAtS), energy })))
  }

  const no = (why, kind = 'PricingError') => refuse(kind, why)
  let [used, quarantined, rolled, register, since, place, meter, swap, last] = [0, 0, false, null, 0, '', '', null, null]
  for (const record of records) {
    const { sequence, startS, endS, importMilliwattHours, powerMilliwatts, flags, reason } = record
    const bad = (flags & (1 << 10)) !== 0
    if (endS < startS) no('ends before it starts')
    if (last === null) {
      if (reason !== 1) no('no START')
      place = `${record.device} ${record.channel}`
      meter = record.meterHash
      const flat = first('FLAT', openedAtS, { power: 0, duration: 0, energy: 0 })
      if (flat !== null) add('FLAT', [flat], 1, sequence)
      since = endS
      if (bad) quarantined++
      else register = importMilliwattHours
      last = record
      continue
    }
    if (sequence <= last.sequence || startS < last.endS) no('out of order')
    if (`${record.device} ${record.channel}` !== place || swap || record.meterHash !== meter) no('another device, channel or meter')
    if (bad) {
      quarantined++
      rolled ||= (flags & (1 << 8)) !== 0
    } else {
      if (endS - since > LONGEST_S) no('too long')
      let energy = register === null ? 0 : importMilliwattHours - register
      if (energy < 0) {
        const modulus = registerModulusMilliwattHours
        if (!((flags & (1 << 8)) || rolled) || energy + modulus < 0 || importMilliwattHours >= modulus) no('fell', 'RegisterFell')
        energy += modulus
      }
      if (energy) add('ENERGY', choices('ENERGY', since, endS, used, used + energy, powerMilliwatts), energy, sequence)
      const begun = Math.max(startS, openedAtS)
      const kind = energy || powerMilliwatts > 0 ? 'TIME' : flags & (1 << 7) ? null : 'PARKING_TIME'
      if (endS > begun && kind) add(kind, choices(kind, begun, endS, used, used + energy, powerMilliwatts), endS - begun, sequence)
      used += energy
      register = importMilliwattHours
      since = endS
      rolled = false
    }
    last = record
    if (reason === 6) {
      swap = handOvers.find(h => h.sequence === sequence)
      if (!swap) { swap = 'missing'; continue }
      if (`${swap.device} ${swap.channel}` !== place || swap.oldMeterHash !== meter) no('hand-over of another')
      if (swap.oldImportMilliwattHours !== importMilliwattHours && !bad) no('hand-over of another register')
      meter = swap.newMeterHash
      register = swap.newImportMilliwattHours
      since = endS
      rolled = false
      swap = null
    }
  }

  const priced = new Set(['ENERGY', ...elements.flatMap(({ price }) => Object.keys(price))])
  const out = Object.values(lines).filter(line => line.element !== null || priced.has(line.component)).map(line => {
    const { price, tax } = priceOf(line.component, line.element)
    const net = price * line.quantity / UNIT[line.component]
    return { ...line, priceMicro: price, taxPpm: tax, netMicro: net, taxMicro: net * tax / PPM }
  })
  const order = Object.keys(UNIT)
  out.sort((a, b) => order.indexOf(a.component) - order.indexOf(b.component) || (a.element ?? 99) - (b.element ?? 99))
  const charged = out.reduce((sum, line) => sum + line.netMicro + line.taxMicro, 0n)
  const least = BigInt(tariff.minPrice?.microTaxIncluded ?? 0)
  if (last !== null && charged < least) {
    const tax = BigInt(tariff.minPrice.taxPpm)
    const within = (least - charged) * tax / (PPM + tax)
    out.push({
      component: 'MINIMUM_PRICE', element: null, quantity: 1n, priceMicro: least - charged - within, taxPpm: tax, netMicro: least - charged - within,
      taxMicro: within, firstSequence: records[0].sequence, lastSequence: last.sequence, spanningRecords: 0
    })
  }
  const total = out.reduce((sum, line) => sum + line.netMicro + line.taxMicro, 0n)
  return { energyMilliwattHours: used, quarantinedRecords: quarantined, lines: out, totalMicro: total }
}
