// People who come and go, seen by a few who watch some of them.
//
// `members` clients each watch `watched` of the users that follow them; then `sockets` users connect and log in, spread
// over `over`, and leave, spread over the same. What the watchers hear is counted; what it costs, too.
package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

func runPresence(o *options) error {
	if len(o.users) < o.members+o.sockets {
		return fmt.Errorf("%d clients need as many credentials, there are %d", o.members+o.sockets, len(o.users))
	}
	watchers, people := o.users[:o.members], o.users[o.members:o.members+o.sockets]
	var heard atomic.Int64
	var closing atomic.Bool
	mark := []byte(`"collection":"stream-user-presence"`)
	clients := make([]*client, 0, o.members)
	for i, who := range watchers {
		c, err := connect(o, who)
		if err != nil {
			return err
		}
		if err = c.login(); err != nil {
			return err
		}
		ids := make([]string, 0, o.watched)
		for k := 0; k < o.watched; k++ {
			ids = append(ids, `"`+people[(i*o.watched+k)%len(people)].id+`"`)
		}
		if err = c.text(`{"msg":"sub","id":"watch","name":"stream-user-presence","params":["",{"added":[` +
			strings.Join(ids, ",") + `]}]}`); err != nil {
			return err
		}
		if _, err = c.until(`"ready"`); err != nil {
			return err
		}
		clients = append(clients, c)
		go func() {
			for {
				message, err := c.read()
				if err != nil {
					if !closing.Load() {
						failed(err)
					}
					return
				}
				heard.Add(int64(bytes.Count(message, mark)))
			}
		}()
	}
	settle(o.pids)
	coming := make([]*client, len(people))
	phases := []struct {
		name string
		work func(i int) error
	}{
		{"come", func(i int) (err error) {
			if coming[i], err = connect(o, people[i]); err == nil {
				err = coming[i].login()
			}
			return
		}},
		{"leave", func(i int) error { return coming[i].conn.Close() }},
	}
	for _, phase := range phases {
		awaitQuiet(o.pids, o.quiet)
		before, used, started := heard.Load(), readCPU(o.pids), time.Now()
		err := inParallel(len(people), o.parallel, func(i int) error {
			time.Sleep(time.Until(started.Add(o.over * time.Duration(i) / time.Duration(len(people)))))
			return phase.work(i)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		time.Sleep(5 * time.Second) // who has left is seen as gone only after a moment
		cpu := readCPU(o.pids).since(used)
		report(map[string]any{"kind": "phase", "phase": phase.name, "people": len(people), "watchers": len(clients),
			"heard": heard.Load() - before, "cpu_seconds": cpu.each, "seconds": time.Since(started).Seconds(),
			"others_cpu": cpu.others() / time.Since(started).Seconds()})
	}
	closing.Store(true)
	for _, c := range clients {
		c.conn.Close()
	}
	return nil
}
