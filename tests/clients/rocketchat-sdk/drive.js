'use strict'
/*
 * Uses a server through Rocket.Chat's own SDK, as a bot or a mobile app would: two connections, of which one acts and the
 * other watches what arrives.
 *
 *   node drive.js URL USER PASSWORD [WATCHER WATCHER_PASSWORD]
 *
 * The same by environment: DRIVE_URL, DRIVE_USER, DRIVE_PASSWORD, DRIVE_WATCHER, DRIVE_WATCHER_PASSWORD. Without a watcher
 * of its own the user watches over a second connection. DRIVE_TIMEOUT bounds the whole run (milliseconds, 60000),
 * DRIVE_CHANNEL names the channel, DRIVE_VERBOSE=1 shows the traffic on standard error.
 *
 * Prints a line of JSON for each step, {"step", "ok", "ms", ...}, and exits 0 if all went well, 1 at the first that did not.
 */
const { Rocketchat } = require('@rocket.chat/sdk')

const given = process.argv.slice(2)
const url = given[0] || process.env.DRIVE_URL
const user = given[1] || process.env.DRIVE_USER
const password = given[2] || process.env.DRIVE_PASSWORD
const watcherUser = given[3] || process.env.DRIVE_WATCHER || user
const watcherPassword = given[4] || process.env.DRIVE_WATCHER_PASSWORD || password
const total = Number(process.env.DRIVE_TIMEOUT || 60000)
const name = process.env.DRIVE_CHANNEL || `sdk-${Date.now().toString(36)}-${process.pid}`

let current = 'start'

function say (line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

/* The SDK throws errors, events, answers of fetch and errors of DDP alike. */
function words (error) {
  if (error instanceof Error) return error.stack
  if (typeof error === 'string') return error
  return (error && error.message) || JSON.stringify(error)
}

function fail (error) {
  say({ step: current, ok: false, error: words(error) })
  process.exit(1)
}

process.on('unhandledRejection', fail)
process.on('uncaughtException', fail)
setTimeout(() => fail(`the whole run took longer than ${total} ms`), total)

async function step (title, action) {
  current = title
  const started = Date.now()
  const details = await action()
  say({ step: title, ok: true, ms: Date.now() - started, ...details })
}

const stderr = (...parts) => process.stderr.write(parts.map((part) => typeof part === 'string' ? part : JSON.stringify(part)).join(' ') + '\n')
const logger = process.env.DRIVE_VERBOSE
  ? { debug: stderr, info: stderr, warn: stderr, warning: stderr, error: stderr }
  : undefined

function client () {
  return new Rocketchat({ protocol: 'ddp', host: url, useSsl: /^https/.test(url), logger })
}

/* All that has arrived on the streams, and who waits for what. */
const arrived = []
const waiting = new Set()

function take (event) {
  arrived.push(event)
  for (const look of waiting) look()
}

/* The first event from `since` on for which `wanted` is true. */
function receive (wanted, since = 0) {
  return new Promise((resolve) => {
    const look = () => {
      const found = arrived.slice(since).find(wanted)
      if (!found) return
      waiting.delete(look)
      resolve(found)
    }
    waiting.add(look)
    look()
  })
}

async function main () {
  if (!url || !user || !password) throw new Error('say URL, USER and PASSWORD')
  const actor = client()
  const watcher = client()
  let room
  let message
  const ofMessage = (test) => ({ collection, args }) =>
    collection === 'stream-room-messages' && args[0]._id === message._id && test(args[0])

  await step('connect', async () => {
    await actor.connect()
    await watcher.connect()
  })
  await step('login', async () => {
    await actor.login({ user, password })
    await watcher.login({ user: watcherUser, password: watcherPassword })
    return { userId: actor.userId, username: actor.username }
  })
  await step('create', async () => {
    room = (await actor.post('channels.create', { name })).channel
    return { roomId: room._id, name: room.name }
  })
  await step('subscribe', async () => {
    if (watcherUser !== user) await watcher.joinRoom({ rid: room._id })
    for (const stream of ['stream-room-messages', 'stream-notify-room']) {
      await watcher.onStreamData(stream, ({ collection, fields }) => take({ collection, ...fields }))
    }
    await watcher.subscribeRoom(room._id)
    await watcher.subscribe('stream-notify-room', `${room._id}/user-activity`)
    await actor.subscribeRoom(room._id)
  })
  await step('send', async () => {
    message = await actor.sendMessage('hello from the SDK', room._id)
    return { messageId: message._id }
  })
  await step('receive', async () => {
    const { eventName, args } = await receive(ofMessage((seen) => seen.msg === 'hello from the SDK'))
    if (eventName !== room._id) throw new Error(`it came as ${eventName}`)
    return { from: args[0].u.username }
  })
  await step('edit', async () => {
    await actor.editMessage({ rid: room._id, _id: message._id, msg: 'edited by the SDK' })
    await receive(ofMessage((seen) => seen.msg === 'edited by the SDK' && seen.editedAt))
  })
  await step('react', async () => {
    await actor.setReaction(':thumbsup:', message._id)
    const { args } = await receive(ofMessage((seen) => seen.reactions && Object.keys(seen.reactions).length))
    const usernames = Object.values(args[0].reactions).flatMap((reaction) => reaction.usernames)
    if (!usernames.includes(actor.username)) throw new Error(`it is by ${usernames}`)
    return { reactions: Object.keys(args[0].reactions) }
  })
  await step('type', async () => {
    const eventName = `${room._id}/user-activity`
    await actor.methodCall('stream-notify-room', eventName, actor.username, ['user-typing'], {})
    await receive((event) => event.eventName === eventName && event.args[0] === actor.username && event.args[1][0] === 'user-typing')
    const since = arrived.length
    await actor.methodCall('stream-notify-room', eventName, actor.username, [], {})
    await receive((event) => event.eventName === eventName && event.args[1].length === 0, since)
  })
  // What this SDK's own subscribeRoom listens to, and what older bots still send.
  await step('type-legacy', async () => {
    const eventName = `${room._id}/typing`
    const since = arrived.length
    await actor.methodCall('stream-notify-room', eventName, actor.username, true)
    await receive((event) => event.eventName === eventName && event.args[0] === actor.username && event.args[1] === true, since)
  })
  await step('leave', async () => {
    // It ends the subscriptions, too, but awaits no answer: the SDK does not hear the one that DDP has (nosub).
    await watcher.disconnect()
    await actor.disconnect()
  })
}

main().then(() => process.exit(0), fail)
