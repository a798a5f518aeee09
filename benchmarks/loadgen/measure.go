// Histograms, and what the kernel says about processes.
package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

const buckets = 1700 // logarithmic, 1 % wide, from 10 µs to more than 100 s

type histogram struct {
	counts [buckets]uint32
	total  uint64
	max    float64
}

func (h *histogram) add(microseconds float64) {
	microseconds = math.Max(microseconds, 10)
	h.counts[min(int(math.Log(microseconds/10)*100), buckets-1)]++
	h.total++
	h.max = math.Max(h.max, microseconds)
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = math.Max(h.max, other.max)
}

// quantile in milliseconds; 0 when there is nothing.
func (h *histogram) quantile(share float64) float64 {
	wanted, sum := uint64(math.Ceil(share*float64(h.total))), uint64(0)
	for i, n := range h.counts {
		if sum += uint64(n); sum >= wanted && sum > 0 {
			return 10 * math.Exp((float64(i)+0.5)/100) / 1000
		}
	}
	return 0
}

// processes are those that serve, by their ids.
type processes []int

func parseProcesses(text string) (found processes, err error) {
	for _, part := range strings.Split(text, ",") {
		pid, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("not a process id: %q", part)
		}
		found = append(found, pid)
	}
	return found, nil
}

// cpu of the servers, of this process and of the whole machine, in seconds since their start.
type cpu struct {
	each          []float64
	self, machine float64
}

func readCPU(pids processes) cpu {
	c := cpu{make([]float64, len(pids)), processCPU(os.Getpid()), machineCPU()}
	for i, pid := range pids {
		c.each[i] = processCPU(pid)
	}
	return c
}

func (c cpu) since(earlier cpu) cpu {
	used := cpu{make([]float64, len(c.each)), c.self - earlier.self, c.machine - earlier.machine}
	for i := range c.each {
		used.each[i] = c.each[i] - earlier.each[i]
	}
	return used
}

// servers is the sum over them.
func (c cpu) servers() (sum float64) {
	for _, used := range c.each {
		sum += used
	}
	return
}

func (c cpu) others() float64 { return math.Max(0, c.machine-c.servers()-c.self) }

func processCPU(pid int) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return (number(fields[11]) + number(fields[12])) / 100
}

func machineCPU() float64 {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(strings.SplitN(string(stat), "\n", 2)[0])
	sum := 0.0
	for i, field := range fields[1:9] {
		if i != 3 && i != 4 { // idle, waiting for a disk
			sum += number(field) / 100
		}
	}
	return sum
}

// memory of a process in KiB: what it holds (RSS), and its share of what it shares (PSS).
func memory(pid int) (rss, pss int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "Rss:" {
			rss = int(number(fields[1]))
		} else if len(fields) > 1 && fields[0] == "Pss:" {
			pss = int(number(fields[1]))
		}
	}
	return
}

func number(text string) float64 {
	value, _ := strconv.ParseFloat(text, 64)
	return value
}

// settle waits until the servers have used less than a tenth of a core for a second.
func settle(pids processes) {
	for i := 0; i < 60; i++ {
		before := readCPU(pids)
		time.Sleep(time.Second)
		if readCPU(pids).since(before).servers() < 0.1 {
			return
		}
	}
}

// awaitQuiet waits for a second in which others use less than a quarter of a core, but no longer than `longest`.
func awaitQuiet(pids processes, longest time.Duration) {
	for start := time.Now(); time.Since(start) < longest; {
		before := readCPU(pids)
		time.Sleep(time.Second)
		if readCPU(pids).since(before).others() < 0.25 {
			return
		}
	}
}
