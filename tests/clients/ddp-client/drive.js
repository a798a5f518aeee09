'use strict'
/*
 * Uses a server through @rocket.chat/ddp-client as an app does: it logs in, listens, chats over DDP and REST, loses its
 * connection, is back, and logs out. Another user watches over a connection of their own.
 *
 *   node drive.js URL USER PASSWORD WATCHER WATCHER_PASSWORD
 *
 * Prints a line of JSON for each step, {"step", "ms", ...}, and exits 0 if all went well, 1 at the first that did not.
 */
const { createHash } = require('node:crypto')
globalThis.WebSocket = require('ws').WebSocket
const { DDPSDK } = require('@rocket.chat/ddp-client')

const [url, user, password, watcherName, watcherPassword] = process.argv.slice(2)
let current = 'start'

async function fail (error) {
  const words = error instanceof Response ? `${error.status} ${await error.text()}` : error.stack || JSON.stringify(error)
  process.stdout.write(JSON.stringify({ failed: current, error: words }) + '\n', () => process.exit(1))
}

process.on('unhandledRejection', fail)
process.on('uncaughtException', fail)
setTimeout(() => fail(new Error('the whole run took longer than a minute')), 60000)

async function step (title, action) {
  current = title
  const started = Date.now()
  const details = await action()
  process.stdout.write(JSON.stringify({ step: title, ms: Date.now() - started, ...details }) + '\n')
}

const digest = (text) => createHash('sha256').update(text).digest('hex')
const connect = () => DDPSDK.createAndConnect(url, { retryCount: 5, retryTime: 50 })

/* Subscribes, and returns a function that awaits the first event not yet looked at for which `wanted` is true. */
async function listen (sdk, stream, event) {
  const arrived = []
  let look = () => {}
  await sdk.stream(stream, event, (...args) => { arrived.push(args); look() }).ready()
  return (wanted = () => true) => new Promise((resolve) => {
    look = () => {
      while (arrived.length) {
        const args = arrived.shift()
        if (!wanted(...args)) continue
        look = () => {}
        return resolve(args)
      }
    }
    look()
  })
}

function check (holds, what) {
  if (!holds) throw new Error(what)
}

async function main () {
  const actor = await connect()
  const watcher = await connect()
  let room, message, messages, activity, deleted, rooms, subscriptions, notification

  await step('login', async () => {
    await actor.account.loginWithPassword(user, digest(password))
    await watcher.account.loginWithPassword(watcherName, digest(watcherPassword))
    check(watcher.account.user.username === watcherName, `it is ${watcher.account.user.username}`)
    check(watcher.account.user.tokenExpires > new Date(), `it ends at ${watcher.account.user.tokenExpires}`)
  })
  await step('refuse', async () => {
    const stranger = await connect()
    const refused = await stranger.account.loginWithPassword(user, digest('wrong')).catch((error) => error)
    check(refused.error === 403, JSON.stringify(refused))
    const unheard = await stranger.stream('notify-user', `${actor.account.uid}/message`, () => {}).ready().catch((error) => error)
    check(unheard.error === 'not-allowed', JSON.stringify(unheard))
    stranger.connection.close()
  })
  await step('create', async () => {
    rooms = await listen(watcher, 'notify-user', `${watcher.account.uid}/rooms-changed`)
    subscriptions = await listen(watcher, 'notify-user', `${watcher.account.uid}/subscriptions-changed`)
    notification = await listen(watcher, 'notify-user', `${watcher.account.uid}/notification`)
    const name = `ddp-${Date.now().toString(36)}-${process.pid}`
    room = (await actor.rest.post('/v1/channels.create', { name, members: [watcherName] })).channel
    const [action, shown] = await rooms((_, changed) => changed._id === room._id)
    check(action === 'inserted' && Number.isInteger(shown.ts.$date), JSON.stringify(shown))
    await subscriptions((_, changed) => changed.rid === room._id)
  })
  await step('load', async () => {
    const since = { updatedSince: new Date(Date.now() - 3600000).toISOString() }
    for (const [path, field] of [['/v1/rooms.get', '_id'], ['/v1/subscriptions.get', 'rid']]) {
      const { update, remove } = await watcher.rest.get(path, since)
      check(update.some((found) => found[field] === room._id) && Array.isArray(remove), path)
    }
    const { update } = await watcher.call('rooms/get', { $date: 0 })
    check(update.some((found) => found._id === room._id), 'rooms/get')
    const people = await watcher.rest.get('/v1/users.presence', { ids: [actor.account.uid, watcher.account.uid] })
    check(people.users.length === 2, JSON.stringify(people))
  })
  await step('send', async () => {
    messages = await listen(watcher, 'room-messages', room._id)
    activity = await listen(actor, 'notify-room', `${room._id}/user-activity`)
    deleted = await listen(watcher, 'notify-room', `${room._id}/deleteMessage`)
    const text = `@${watcherName}, hear me`
    message = (await actor.rest.post('/v1/chat.sendMessage', { message: { rid: room._id, msg: text } })).message
    const [heard] = await messages((seen) => seen._id === message._id)
    check(heard.msg === text && Number.isInteger(heard.ts.$date), JSON.stringify(heard))
    const [{ payload }] = await notification()
    check(payload._id === message._id && payload.sender.username === user, JSON.stringify(payload))
  })
  await step('change', async () => {
    await actor.rest.post('/v1/chat.update', { roomId: room._id, msgId: message._id, text: 'edited' })
    await messages((seen) => seen.msg === 'edited' && seen.editedAt)
    await watcher.rest.post('/v1/chat.react', { messageId: message._id, emoji: ':tada:' })
    await messages((seen) => seen.reactions?.[':tada:']?.usernames.includes(watcherName))
    await watcher.rest.post('/v1/chat.sendMessage', { message: { rid: room._id, msg: 'a reply', tmid: message._id } })
    await messages((seen) => seen._id === message._id && seen.tcount === 1)
  })
  await step('type', async () => {
    await watcher.call('stream-notify-room', `${room._id}/user-activity`, watcherName, ['user-typing'], {})
    await activity((who, doing) => who === watcherName && doing.includes('user-typing'))
    await watcher.rest.post('/v1/subscriptions.read', { rid: room._id })
    await subscriptions((_, changed) => changed.rid === room._id && changed.unread === 0 && !changed.alert)
  })
  await step('upload', async () => {
    const form = new FormData()
    form.append('file', new File(['a note'], 'note.txt', { type: 'text/plain' }))
    const { file } = await actor.rest.post(`/v1/rooms.media/${room._id}`, form)
    await actor.rest.post(`/v1/rooms.mediaConfirm/${room._id}/${file._id}`, { msg: 'a file' })
    await messages((seen) => seen.file?._id === file._id)
  })
  await step('reconnect', async () => {
    const back = new Promise((resolve) => watcher.connection.once('connected', resolve))
    const loggedIn = new Promise((resolve) => watcher.account.once('user', resolve))
    watcher.connection.ws.terminate()
    await back
    await loggedIn
    // The subscriptions were sent anew before this: answers come in order.
    await watcher.call('rooms/get', { $date: Date.now() })
    await actor.call('sendMessage', { rid: room._id, msg: 'welcome back' })
    await messages((seen) => seen.msg === 'welcome back')
    await rooms((_, changed) => changed._id === room._id)
    await actor.rest.post('/v1/chat.delete', { roomId: room._id, msgId: message._id })
    await deleted((gone) => gone._id === message._id)
  })
  await step('logout', async () => {
    const { token } = actor.account.user
    actor.connection.close() // or else it would be back by itself with the token that ends here
    const resumed = await connect()
    await resumed.account.loginWithToken(token)
    check(resumed.account.uid === actor.account.uid, 'it resumed as somebody else')
    await resumed.account.logout()
    const refused = await actor.rest.get('/v1/me').catch((answer) => answer)
    check(refused.status === 401, 'the token of who logged out still works')
    for (const sdk of [resumed, watcher]) sdk.connection.close()
  })
}

main().then(() => process.exit(0), fail)
