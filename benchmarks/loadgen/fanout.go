// One room, or a few: some members send, everybody receives.
//
// Message k is due at start + k/rate, whatever the server does meanwhile, and every latency counts from then: a server that
// stalls is charged for the wait.
//
//	acknowledged  due → the result of `sendMessage` at its sender
//	end to end    due → the message read off a member's socket (all members, the sender too)
//
// A step is held when 99.9 % of messages × members have arrived within 2 s after the last was due, and the 99th
// percentile of end to end is below 1 s.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const marker = "LG|"

var padding = strings.Repeat("x", 64)

// step is what is being measured: the messages with these numbers.
type step struct {
	first, count      int64
	delivered, acked  atomic.Int64
	lastDelivery      atomic.Int64
	endToEnd, answers histogram
}

func (s *step) has(number int64) bool {
	return s != nil && number >= s.first && number < s.first+s.count
}

type member struct {
	*client
	mutex             sync.Mutex // guards what follows
	seen              []uint64   // a bit for each message of the step: counted once
	endToEnd, answers histogram
	due               map[int64]int64
}

type fanout struct {
	*options
	run     string // begins every message's id, which has 17 characters like those of other clients
	members []*member
	current atomic.Pointer[step]
	next    int64
	closing atomic.Bool
}

// subscriptions of a member, in the order of real clients: their own events, then the room's.
func subscriptions(o *options, userID string) [][2]string {
	list := [][2]string{}
	if o.profile == "client" {
		for _, event := range []string{"message", "notification", "subscriptions-changed", "rooms-changed", "userData",
			"uiInteraction", "video-conference", "force_logout"} {
			list = append(list, [2]string{"stream-notify-user", userID + "/" + event})
		}
		for _, room := range o.rooms {
			for _, event := range []string{"user-activity", "deleteMessage", "deleteMessageBulk", "messagesRead"} {
				list = append(list, [2]string{"stream-notify-room", room + "/" + event})
			}
		}
	}
	for _, room := range o.rooms {
		list = append(list, [2]string{"stream-room-messages", room})
	}
	return list
}

func runFanout(o *options) error {
	if len(o.users) < o.members {
		return fmt.Errorf("%d members need as many credentials, there are %d", o.members, len(o.users))
	}
	if o.profile != "room" && o.profile != "client" {
		return fmt.Errorf("unknown profile %q", o.profile)
	}
	o.senders = min(o.senders, o.members)
	f := &fanout{options: o, run: fmt.Sprintf("%08x", uint32(time.Now().UnixMicro())), members: make([]*member, o.members)}
	before, _ := memory(o.pids[0])
	started := time.Now()
	err := inParallel(o.members, o.parallel, func(i int) error {
		c, err := connect(o, o.users[i])
		if err != nil {
			return err
		}
		m := &member{client: c, due: map[int64]int64{}}
		f.members[i] = m
		if err = c.login(); err == nil {
			err = c.subscribe(subscriptions(o, c.user.id))
		}
		if err == nil {
			go f.receive(m)
		}
		return err
	})
	if err != nil {
		return err
	}
	took := time.Since(started).Seconds()
	settle(o.pids)
	after, _ := memory(o.pids[0])
	report(map[string]any{"kind": "connected", "members": o.members, "seconds": took,
		"rss_kib_per_member": float64(after-before) / float64(o.members)})
	for _, text := range strings.Split(o.rates, ",") {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || rate <= 0 {
			return fmt.Errorf("not a rate: %q", text)
		}
		awaitQuiet(o.pids, o.quiet)
		f.send(rate, o.warmup)
		time.Sleep(500 * time.Millisecond)
		f.measure(rate)
		time.Sleep(500 * time.Millisecond)
	}
	f.closing.Store(true)
	for _, m := range f.members {
		m.conn.Close()
	}
	return nil
}

// send sends for this long, each message when it is due, and returns when the first was.
func (f *fanout) send(rate float64, duration time.Duration) time.Time {
	start := time.Now()
	for i := int64(0); i < int64(rate*duration.Seconds()); i++ {
		due := start.Add(time.Duration(float64(i) * float64(time.Second) / rate))
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		m := f.members[f.next%int64(f.senders)]
		m.mutex.Lock()
		m.due[f.next] = due.UnixNano()
		m.mutex.Unlock()
		text := marker + strconv.FormatInt(f.next, 10) + "|" + strconv.FormatInt(due.UnixNano(), 10) + "|" + padding
		id := strconv.FormatInt(f.next, 10)
		if err := m.text(`{"msg":"method","method":"sendMessage","id":"` + id + `","params":[{"_id":"` + f.run + fmt.Sprintf("%09d", f.next) +
			`","rid":"` + f.rooms[f.next%int64(len(f.rooms))] + `","msg":"` + text + `"}]}`); err != nil {
			failed(err)
		}
		f.read()
		f.next++
	}
	return start
}

// read lets some members read the room of the message at hand, as clients that show it do. The answers are not measured.
func (f *fanout) read() {
	room := f.rooms[f.next%int64(len(f.rooms))]
	for i := int64(1); i <= int64(f.reads); i++ {
		id := "read" + strconv.FormatInt(f.next, 10)
		m := f.members[(f.next+i)%int64(len(f.members))]
		if err := m.text(`{"msg":"method","method":"readMessages","id":"` + id + `","params":["` + room + `"]}`); err != nil {
			failed(err)
		}
	}
}

func (f *fanout) measure(rate float64) {
	s := &step{first: f.next, count: int64(rate * f.duration.Seconds())}
	for _, m := range f.members {
		m.mutex.Lock()
		m.seen, m.endToEnd, m.answers = make([]uint64, s.count/64+1), histogram{}, histogram{}
		m.mutex.Unlock()
	}
	f.current.Store(s)
	before := readCPU(f.pids)
	start := f.send(rate, f.duration)
	used, sending := readCPU(f.pids).since(before), time.Since(start).Seconds()
	deliveredMeanwhile := float64(max(s.delivered.Load(), 1))

	wanted, inTime := s.count*int64(len(f.members)), int64(0)
	for end := start.Add(f.duration); time.Since(end) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		if time.Since(end) < 2*time.Second {
			inTime = s.delivered.Load()
		}
		if s.delivered.Load() >= wanted && s.acked.Load() >= s.count {
			break
		}
	}
	f.current.Store(nil)
	for _, m := range f.members {
		m.mutex.Lock()
		s.endToEnd.merge(&m.endToEnd)
		s.answers.merge(&m.answers)
		m.mutex.Unlock()
	}
	span := math.Max(sending, float64(s.lastDelivery.Load()-start.UnixNano())/1e9)
	report(map[string]any{
		"kind": "step", "rate": rate, "members": len(f.members), "profile": f.profile,
		"acknowledged_per_s": float64(s.acked.Load()) / span, "delivered_per_s": float64(s.delivered.Load()) / span,
		"lost": 1 - float64(s.delivered.Load())/float64(wanted), "unanswered": s.count - s.acked.Load(),
		"held":       float64(inTime) >= 0.999*float64(wanted) && s.endToEnd.quantile(0.99) < 1000,
		"ack_p50_ms": s.answers.quantile(0.5), "ack_p99_ms": s.answers.quantile(0.99),
		"e2e_p50_ms": s.endToEnd.quantile(0.5), "e2e_p99_ms": s.endToEnd.quantile(0.99), "e2e_max_ms": s.endToEnd.max / 1000,
		"cpu_us_per_delivery": 1e6 * used.servers() / deliveredMeanwhile,
		"cpu_us_per_message":  1e6 * used.servers() / (deliveredMeanwhile / float64(len(f.members))),
		"cpu_seconds":         used.each, "seconds": sending, "delivered": deliveredMeanwhile,
		"server_cpu": used.servers() / sending, "generator_cpu": used.self / sending, "others_cpu": used.others() / sending,
	})
}

var messages = []byte(`"collection":"stream-room-messages"`)

// receive counts what one member hears, until its socket is closed.
func (f *fanout) receive(m *member) {
	for {
		message, err := m.read()
		if err != nil {
			if !f.closing.Load() {
				failed(err)
			}
			return
		}
		now := time.Now().UnixNano()
		head := message[:min(len(message), 80)]
		switch {
		case bytes.Contains(head, messages):
			f.onMessage(m, message, now)
		case bytes.HasPrefix(head, []byte(`{"msg":"result"`)): // it carries the message, too: not a delivery
			f.onResult(m, message, now)
		}
	}
}

func (f *fanout) onMessage(m *member, message []byte, now int64) {
	// Once a frame: a message repeats its text in its syntax tree.
	at := bytes.Index(message, []byte(marker))
	if at < 0 {
		return
	}
	text := message[at+len(marker):]
	number, size := digits(text)
	due, _ := digits(text[min(size+1, len(text)):])
	s := f.current.Load()
	if !s.has(number) {
		return
	}
	m.mutex.Lock()
	word, bit := &m.seen[(number-s.first)/64], uint64(1)<<uint((number-s.first)%64)
	again := *word&bit != 0
	*word |= bit
	if !again {
		m.endToEnd.add(float64(now-due) / 1000)
	}
	m.mutex.Unlock()
	if again {
		failed(fmt.Errorf("message %d twice", number))
		return
	}
	s.delivered.Add(1)
	s.lastDelivery.Store(now)
}

func (f *fanout) onResult(m *member, message []byte, now int64) {
	var result struct {
		ID    string `json:"id"`
		Error any    `json:"error"`
	}
	if err := json.Unmarshal(message, &result); err != nil {
		failed(err)
		return
	}
	if result.Error != nil {
		failed(errors.New("a method: " + string(message[:min(len(message), 300)])))
		return
	}
	number, err := strconv.ParseInt(result.ID, 10, 64)
	if err != nil {
		return
	}
	s := f.current.Load()
	m.mutex.Lock()
	due, known := m.due[number]
	delete(m.due, number)
	if known && s.has(number) {
		m.answers.add(float64(now-due) / 1000)
		s.acked.Add(1)
	}
	m.mutex.Unlock()
}

// digits reads the number at the beginning of a text, and says how long it is.
func digits(text []byte) (value int64, size int) {
	for size < len(text) && text[size] >= '0' && text[size] <= '9' {
		value = value*10 + int64(text[size]-'0')
		size++
	}
	return
}
