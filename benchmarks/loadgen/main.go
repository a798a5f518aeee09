// loadgen drives a DDP server as many clients would, and measures what they see. No dependencies; `harness.py` builds it.
//
//	loadgen fanout      -address host:port -room ID -members 500 -rates 40,160 -credentials FILE -pid PID
//	loadgen connections -address host:port -sockets 10000 -reconnects 5000 -credentials FILE -pid PID
//	loadgen presence    -address host:port -members 50 -watched 100 -sockets 5000 -over 60s -credentials FILE -pid PID
//
// Several addresses, with commas between them, are taken in turn; of several processes each one's CPU is reported.
//
// The credentials file has a line "userId authToken" a member. What was measured comes out as one JSON object a line,
// and what went wrong in the last one.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type options struct {
	path, profile, rates          string
	rooms                         []string
	members, senders, watched     int
	reads                         int
	sockets, reconnects, parallel int
	duration, warmup, quiet, over time.Duration
	pids                          processes
	users                         []user
}

// user is one who has a token, and where they connect.
type user struct{ id, token, address string }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("say fanout, connections or presence")
	}
	var o options
	var credentials, addresses, pids, rooms string
	f := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	f.StringVar(&addresses, "address", "127.0.0.1:3000", "of the server, or of several")
	f.StringVar(&o.path, "path", "/websocket", "of its websocket")
	f.StringVar(&credentials, "credentials", "", "file of 'userId authToken' lines")
	f.StringVar(&pids, "pid", "", "the server's process id, or several: memory is the first one's")
	f.IntVar(&o.parallel, "parallel", 16, "clients that connect or log in at a time")
	f.DurationVar(&o.quiet, "quiet", 10*time.Second, "wait up to this for a second in which others use < 25 % of a core")
	f.StringVar(&rooms, "room", "", "fanout: the room's id, or several, which get messages in turn")
	f.IntVar(&o.reads, "reads", 0, "fanout: so many members call readMessages after each message")
	f.StringVar(&o.profile, "profile", "room", "fanout: what a member subscribes to: room (its messages) or client (as real ones)")
	f.StringVar(&o.rates, "rates", "40", "fanout: messages a second, comma-separated")
	f.IntVar(&o.members, "members", 500, "fanout: connected members; presence: those who watch")
	f.IntVar(&o.watched, "watched", 100, "presence: users that each of them watches")
	f.IntVar(&o.senders, "senders", 20, "fanout: members that send, in turn")
	f.DurationVar(&o.duration, "duration", 8*time.Second, "fanout: of a step")
	f.DurationVar(&o.warmup, "warmup", time.Second, "fanout: the same before it, uncounted")
	f.IntVar(&o.sockets, "sockets", 10000, "connections: open at a time; presence: users who come and go")
	f.DurationVar(&o.over, "over", time.Minute, "presence: spread coming, and leaving, over this long")
	f.IntVar(&o.reconnects, "reconnects", 5000, "connections: how many of them reconnect")
	if err := f.Parse(arguments[1:]); err != nil {
		return err
	}
	var err error
	if o.pids, err = parseProcesses(pids); err != nil {
		return err
	}
	text, err := os.ReadFile(credentials)
	if err != nil {
		return err
	}
	o.rooms = strings.Split(rooms, ",")
	servers := strings.Split(addresses, ",")
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return fmt.Errorf("%s: not 'userId authToken': %q", credentials, line)
		}
		o.users = append(o.users, user{fields[0], fields[1], servers[i%len(servers)]})
	}
	switch arguments[0] {
	case "fanout":
		err = runFanout(&o)
	case "connections":
		err = runConnections(&o)
	case "presence":
		err = runPresence(&o)
	default:
		err = fmt.Errorf("unknown mode %q", arguments[0])
	}
	if err == nil {
		failures.Lock()
		defer failures.Unlock()
		report(map[string]any{"kind": "end", "errors": failures.count, "examples": failures.examples})
	}
	return err
}

func report(line map[string]any) {
	encoded, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(encoded))
}

// failures counts what must not happen, and keeps a few examples.
var failures struct {
	sync.Mutex
	count    int
	examples []string
}

func failed(err error) {
	failures.Lock()
	defer failures.Unlock()
	failures.count++
	if len(failures.examples) < 5 {
		failures.examples = append(failures.examples, err.Error())
	}
}

// inParallel calls work(0 … n-1), `width` at a time, and returns the first error.
func inParallel(n, width int, work func(i int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	broken := make(chan error, width)
	for w := 0; w < width; w++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := int(next.Add(1)) - 1; i < n && len(broken) == 0; i = int(next.Add(1)) - 1 {
				if err := work(i); err != nil {
					broken <- fmt.Errorf("client %d: %w", i, err)
					return
				}
			}
		}()
	}
	group.Wait()
	close(broken)
	return <-broken
}
