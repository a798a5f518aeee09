// A DDP client on a minimal websocket.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

type client struct {
	user    user
	conn    net.Conn
	reader  *bufio.Reader
	message []byte
	writing sync.Mutex
	out     []byte
}

// connect opens the websocket and says DDP's `connect`.
func connect(o *options, who user) (*client, error) {
	conn, err := net.DialTimeout("tcp", who.address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c := &client{user: who, conn: conn, reader: bufio.NewReaderSize(conn, 4096)}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", o.path)
	line, err := c.reader.ReadString('\n')
	if err == nil && !strings.Contains(line, " 101") {
		err = fmt.Errorf("no websocket: %s", strings.TrimSpace(line))
	}
	for err == nil && line != "\r\n" {
		line, err = c.reader.ReadString('\n')
	}
	if err == nil {
		err = c.text(`{"msg":"connect","version":"1","support":["1","pre2","pre1"]}`)
	}
	if err == nil {
		_, err = c.until(`"connected"`)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) login() error {
	if err := c.text(`{"msg":"method","method":"login","id":"login","params":[{"resume":"` + c.user.token + `"}]}`); err != nil {
		return err
	}
	answer, err := c.until(`"id":"login"`)
	if err == nil && strings.Contains(answer, `"error"`) {
		err = fmt.Errorf("login: %s", answer)
	}
	return err
}

// subscribe asks for all of these at once, as clients do, and returns when each is `ready`.
func (c *client) subscribe(subscriptions [][2]string) error {
	for i, s := range subscriptions {
		if err := c.text(fmt.Sprintf(`{"msg":"sub","id":"sub%d","name":"%s","params":["%s",false]}`, i, s[0], s[1])); err != nil {
			return err
		}
	}
	for i := 0; i < len(subscriptions); i++ {
		answer, err := c.until(`"ready"`, `"nosub"`)
		if err != nil {
			return err
		}
		if strings.Contains(answer, `"nosub"`) {
			return fmt.Errorf("refused: %s", answer)
		}
	}
	return nil
}

func (c *client) text(s string) error { return c.write(1, []byte(s)) }

func (c *client) write(opcode byte, payload []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	out := append(c.out[:0], 0x80|opcode)
	switch {
	case len(payload) < 126:
		out = append(out, 0x80|byte(len(payload)))
	case len(payload) < 65536:
		out = append(out, 0x80|126, byte(len(payload)>>8), byte(len(payload)))
	default:
		out = append(out, 0x80|127)
		out = binary.BigEndian.AppendUint64(out, uint64(len(payload)))
	}
	out = append(out, 0, 0, 0, 0) // a mask of zeros changes nothing
	out = append(out, payload...)
	c.out = out
	_, err := c.conn.Write(out)
	return err
}

// read returns one whole message, valid until the next read. It answers pings, also DDP's.
func (c *client) read() ([]byte, error) {
	c.message = c.message[:0]
	for {
		head, err := c.reader.Peek(2)
		if err != nil {
			return nil, err
		}
		final, opcode, size := head[0]&0x80 != 0, head[0]&15, int(head[1]&127)
		c.reader.Discard(2)
		if size >= 126 {
			long, err := c.reader.Peek(map[int]int{126: 2, 127: 8}[size])
			if err != nil {
				return nil, err
			}
			if len(long) == 2 {
				size = int(binary.BigEndian.Uint16(long))
			} else {
				size = int(binary.BigEndian.Uint64(long))
			}
			c.reader.Discard(len(long))
		}
		start := len(c.message)
		if cap(c.message) < start+size {
			grown := make([]byte, start, start+size+256)
			copy(grown, c.message)
			c.message = grown
		}
		c.message = c.message[:start+size]
		if _, err := io.ReadFull(c.reader, c.message[start:]); err != nil {
			return nil, err
		}
		switch opcode {
		case 8:
			return nil, fmt.Errorf("closed: %q", c.message[start:])
		case 9:
			c.write(10, c.message[start:])
			c.message = c.message[:start]
		case 10:
			c.message = c.message[:start]
		default:
			if !final {
				continue
			}
			if bytes.HasPrefix(c.message, []byte(`{"msg":"ping"`)) {
				c.text(`{"msg":"pong"}`)
				c.message = c.message[:0]
				continue
			}
			return c.message, nil
		}
	}
}

// until reads messages until one contains any of the marks.
func (c *client) until(marks ...string) (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	defer c.conn.SetReadDeadline(time.Time{})
	for {
		message, err := c.read()
		if err != nil {
			return "", fmt.Errorf("waiting for %q: %w", marks, err)
		}
		for _, mark := range marks {
			if bytes.Contains(message, []byte(mark)) {
				return string(message), nil
			}
		}
	}
}
