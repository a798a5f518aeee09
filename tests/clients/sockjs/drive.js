'use strict'
/*
 * Logs in by DDP through SockJS's client, says something and waits until it hears it.
 *
 *   node drive.js URL TOKEN ROOM TEXT
 *
 * Prints a line of JSON for each DDP message that arrives, and a last one for the end of the session: {"closed", "code"}.
 */
const SockJS = require('sockjs-client')

const [url, token, room, text] = process.argv.slice(2)
const socket = new SockJS(`${url}/sockjs`, null, { transports: 'websocket' })
const send = (message) => socket.send(JSON.stringify(message))
const print = (value) => process.stdout.write(JSON.stringify(value) + '\n')
const late = setTimeout(() => { print({ late: true }); process.exit(1) }, 30000)

const answers = {
  connected: () => send({ msg: 'method', method: 'login', id: 'login', params: [{ resume: token }] }),
  ready: () => send({ msg: 'method', method: 'sendMessage', id: 'say', params: [{ rid: room, msg: text }] }),
  changed: () => socket.close(1000, 'heard')
}

socket.onopen = () => send({ msg: 'connect', version: '1', support: ['1'] })
socket.onmessage = (event) => {
  const message = JSON.parse(event.data)
  print(message)
  if (message.msg === 'result' && message.id === 'login') {
    send({ msg: 'sub', id: 'messages', name: 'stream-room-messages', params: [room, false] })
  } else if (message.msg in answers) {
    answers[message.msg]()
  }
}
socket.onclose = (event) => {
  clearTimeout(late)
  print({ closed: event.reason, code: event.code })
}
