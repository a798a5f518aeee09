// Many idle sockets: what each costs, and how fast they come and come back.
//
// The phases are closed loops: `parallel` clients work at a time, so a rate is what the server can do, and a latency
// only what it is at that rate.
package main

import (
	"fmt"
	"math"
	"time"
)

// roomList is what keeps a client's list of rooms up to date.
func roomList(userID string) [][2]string {
	return [][2]string{
		{"stream-notify-user", userID + "/subscriptions-changed"},
		{"stream-notify-user", userID + "/rooms-changed"},
	}
}

// keepAlive says something on every socket often enough for a server that asks silent clients whether they are there:
// nobody reads its questions between two phases.
func keepAlive(clients []*client) {
	for range time.Tick(20 * time.Second) {
		for _, c := range clients {
			if c != nil {
				c.text(`{"msg":"pong"}`)
			}
		}
	}
}

func runConnections(o *options) error {
	if len(o.users) < o.sockets {
		return fmt.Errorf("%d sockets need as many credentials, there are %d", o.sockets, len(o.users))
	}
	clients := make([]*client, o.sockets)
	go keepAlive(clients)
	phases := []struct {
		name  string
		count int
		work  func(i int) error
	}{
		{"open", o.sockets, func(i int) (err error) {
			clients[i], err = connect(o, o.users[i])
			return
		}},
		{"login", o.sockets, func(i int) error { return clients[i].login() }},
		{"subscribe", o.sockets, func(i int) error { return clients[i].subscribe(roomList(o.users[i].id)) }},
		{"reconnect", o.reconnects, func(i int) (err error) {
			clients[i].conn.Close()
			if clients[i], err = connect(o, o.users[i]); err == nil {
				if err = clients[i].login(); err == nil {
					err = clients[i].subscribe(roomList(o.users[i].id))
				}
			}
			return
		}},
	}
	settle(o.pids)
	before, beforePSS := memory(o.pids[0])
	for _, phase := range phases {
		awaitQuiet(o.pids, o.quiet)
		latencies := make([]float64, phase.count)
		used, started := readCPU(o.pids), time.Now()
		err := inParallel(phase.count, o.parallel, func(i int) error {
			begun := time.Now()
			err := phase.work(i)
			latencies[i] = float64(time.Since(begun).Microseconds())
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		cpu, seconds := readCPU(o.pids).since(used), time.Since(started).Seconds()
		var h histogram
		for _, microseconds := range latencies {
			h.add(microseconds)
		}
		settle(o.pids)
		rss, pss := memory(o.pids[0])
		report(map[string]any{
			"kind": "phase", "phase": phase.name, "count": phase.count, "seconds": seconds,
			"per_s": float64(phase.count) / math.Max(seconds, 1e-9), "p50_ms": h.quantile(0.5), "p99_ms": h.quantile(0.99),
			"cpu_us_each":        1e6 * cpu.servers() / float64(max(phase.count, 1)),
			"rss_kib_per_socket": float64(rss-before) / float64(o.sockets),
			"pss_kib_per_socket": float64(pss-beforePSS) / float64(o.sockets),
			"cpu_seconds":        cpu.each,
			"server_cpu":         cpu.servers() / seconds, "others_cpu": cpu.others() / seconds,
		})
	}
	for _, c := range clients {
		c.conn.Close()
	}
	return nil
}
