package chat

// A fifo is a queue in a circular buffer, indexed from its front. The zero value is empty.
type fifo[T any] struct {
	buf   []T
	front int
	n     int
}

func (q *fifo[T]) len() int { return q.n }

// at returns the i-th element from the front.
func (q *fifo[T]) at(i int) *T {
	i += q.front
	if i >= len(q.buf) {
		i -= len(q.buf)
	}
	return &q.buf[i]
}

func (q *fifo[T]) push(v T) {
	if q.n == len(q.buf) {
		grown := make([]T, max(16, 2*q.n))
		for i := range q.n {
			grown[i] = *q.at(i)
		}
		q.buf, q.front = grown, 0
	}
	q.n++
	*q.at(q.n - 1) = v
}

// pop removes and returns the front.
func (q *fifo[T]) pop() T {
	v := q.at(0)
	out := *v
	var zero T
	*v = zero // for the garbage collector
	q.front++
	if q.front == len(q.buf) {
		q.front = 0
	}
	q.n--
	return out
}
