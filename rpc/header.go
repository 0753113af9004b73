package rpc

// What a response says beside its messages: its HEAD, once, and the trailer that END has.

// takeHeader returns the HEAD if it has not gone out, else one that says nothing; now it goes.
func (c *serverCall) takeHeader() ownHead {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headerSent {
		return ownHead{}
	}
	c.headerSent = true
	h := ownHead{metadata: c.header}
	if z := c.compression; z != nil && z.out != nil { // whether or not this message is, a later one may be
		h.compression = z.out.Name()
	}
	return h
}

// untakeHeader leaves the HEAD to the status, after the message that was to carry it
// turned out not to be sent.
func (c *serverCall) untakeHeader(h ownHead) {
	if h.empty() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headerSent = false
}

func (c *serverCall) addHeader(f Field) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headerSent {
		return errTooLate
	}
	return add(&c.header, f, maxEnvelope)
}

func (c *serverCall) addTrailer(f Field) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return add(&c.trailer, f, maxTrailer)
}

// add adds f to md if it is valid, and md stays within limit bytes on the wire.
func add(md *Metadata, f Field, limit int) error {
	more := append(*md, f)
	if err := more[len(*md):].checkOwn(); err != nil {
		return err
	}
	if n := len(more); n > maxFields {
		return Errorf(ResourceExhausted, "metadata of %d fields, limit is %d", n, maxFields)
	}
	if n := sizeMetadata(more); n > limit {
		return Errorf(ResourceExhausted, "metadata of %d bytes, limit is %d", n, limit)
	}
	*md = more
	return nil
}
