'use strict'
// Description:
//   Answers "pong" to "<name of the bot> ping". Hubot loads this once it is connected, logged in and subscribed, which the
//   line of JSON on standard output tells whoever started it:
//
//   ROCKETCHAT_URL=http://127.0.0.1:3000 ROCKETCHAT_USER=... ROCKETCHAT_PASSWORD=... ROCKETCHAT_ROOM=general \
//     hubot --adapter rocketchat --disable-httpd --name NAME
//
// Commands:
//   hubot ping - answers "pong"

module.exports = (robot) => {
  robot.respond(/ping$/i, (response) => {
    response.send('pong')
  })
  process.stdout.write(JSON.stringify({ step: 'ready', name: robot.name, alias: robot.alias }) + '\n')
}
