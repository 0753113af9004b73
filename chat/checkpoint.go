package chat

import "time"

// A client's checkpoints by itself (X.225's minor synchronization points). They are its identity's read marks: see [Client.MarkRead], which
// a program calls that knows better.
//
//	event                                             done, since the last checkpoint
//	Next has returned a record, and is called again   one more; the first starts the clock
//	CheckpointLines are                               checkpoint
//	CheckpointAfter is over                           checkpoint
//	a MARK is about to be said anyway                 checkpoint, if that would be due before the next one
//	the half ends, by Close or a drain                checkpoint
//
// A checkpoint costs a MARK only where it says something new, and never more than one a second for each room. Per record it costs an
// uncontended lock: some 20 ns, where the reader of a busy room takes 1.35 µs for a line.

// checkpoints says whether the client has checkpoints by itself.
func (cfg *ClientConfig) checkpoints() bool {
	return cfg.CheckpointLines > 0 || cfg.CheckpointAfter > 0
}

// done notes that the user of Next is done with the record that it returned last.
func (c *Client) done() {
	r := c.returned
	if r == nil {
		return
	}
	c.returned = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.ownLocked(r.name)
	own.done = r.last
	own.lines++
	switch {
	case c.closed: // the half has ended, or says so already
	case c.cfg.CheckpointLines > 0 && own.lines >= c.cfg.CheckpointLines:
		c.checkpointLocked(r.name, own)
		c.armLocked()
	case c.cfg.CheckpointAfter > 0 && c.checkpointAt.IsZero():
		c.checkpointAt = time.Now().Add(c.cfg.CheckpointAfter)
		if c.checkpointTimer == nil {
			c.checkpointTimer = time.AfterFunc(c.cfg.CheckpointAfter, c.checkpoint)
		} else {
			c.checkpointTimer.Reset(c.cfg.CheckpointAfter)
		}
	}
}

// checkpoint follows the clock.
func (c *Client) checkpoint() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.checkpointAt.IsZero() { // else it came too late
		c.checkpointsLocked()
		c.armLocked()
	}
}

// checkpointsLocked has a checkpoint in each room.
func (c *Client) checkpointsLocked() {
	if !c.checkpointAt.IsZero() {
		c.checkpointAt = time.Time{}
		c.checkpointTimer.Stop()
	}
	for room, own := range c.marks {
		if own.lines > 0 {
			c.checkpointLocked(room, own)
		}
	}
}

func (c *Client) checkpointLocked(room string, own *ownMark) {
	own.lines = 0
	c.raiseLocked(room, own.done.Epoch, Mark{Read: own.done.Seq, Delivered: own.done.Seq})
}

// checkpointsSoonLocked is checkpointsLocked if that is due before another MARK may be said.
func (c *Client) checkpointsSoonLocked() {
	if !c.checkpointAt.IsZero() && time.Until(c.checkpointAt) < confirmAfter {
		c.checkpointsLocked()
	}
}
