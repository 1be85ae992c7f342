package docker

import "slices"

// atOnce is how many containers are inspected at a time.
const atOnce = 32

// inspections go on beside the loop, so that a container about which the engine does not
// answer keeps nobody waiting but itself. At most one of each container is under way.
type inspections struct {
	limit   int
	inspect func(*inspection) // fills in the answer
	beside  func(func())      // runs something beside the loop

	away  map[string]*inspection // asked and not answered, by id
	queue []string               // ids to be asked about when there is room; none is in it twice
	back  chan *inspection       // answered; it has room for all that are away
}

// An inspection is one question to the engine.
type inspection struct {
	id    string
	found *Container
	err   error

	again     bool            // something has happened to the container since
	void      bool            // its answer may be from before something that is known already
	meanwhile map[string]bool // whom something has happened to since, by id
}

func newInspections(limit int, beside func(func()), inspect func(*inspection)) *inspections {
	return &inspections{
		limit: limit, inspect: inspect, beside: beside,
		away: map[string]*inspection{}, back: make(chan *inspection, limit),
	}
}

// ask has a container inspected at some time after the call.
func (q *inspections) ask(id string) {
	if i := q.away[id]; i != nil {
		i.again = true
	} else if !slices.Contains(q.queue, id) {
		q.queue = append(q.queue, id)
		q.fill()
	}
}

func (q *inspections) fill() {
	for len(q.queue) > 0 && len(q.away) < q.limit {
		i := &inspection{id: q.queue[0], meanwhile: map[string]bool{}}
		q.queue = q.queue[1:]
		q.away[i.id] = i
		q.beside(func() {
			q.inspect(i)
			q.back <- i
		})
	}
}

// done is to be called for each that is back.
func (q *inspections) done(i *inspection) {
	delete(q.away, i.id)
	if i.again {
		q.ask(i.id)
	}
	q.fill()
}

// drop makes sure that nothing is learned from what has been asked about a container so
// far, and says whether anything had.
func (q *inspections) drop(id string) bool {
	if i := q.away[id]; i != nil {
		i.void, i.again = true, false
		return true
	}
	before := len(q.queue)
	q.queue = slices.DeleteFunc(q.queue, func(other string) bool { return other == id })
	return len(q.queue) < before
}

// pending says whether an answer about a container is to come.
func (q *inspections) pending(id string) bool {
	if i := q.away[id]; i != nil {
		return i.again || !i.void
	}
	return slices.Contains(q.queue, id)
}

// told notes for those under way that something has happened to a container.
func (q *inspections) told(id string) {
	for _, i := range q.away {
		i.meanwhile[id] = true
	}
}
