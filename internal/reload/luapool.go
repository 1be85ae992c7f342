package reload

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// luaPiece is how many members stand together in nginx's memory, as in nginx.lua: with
// one of them, the others of its piece are written again.
const luaPiece = 64

// A luaMember is what nginx knows of a member.
type luaMember struct {
	address string
	weight  int
}

// A luaPool is a pool as nginx has it.
type luaPool struct {
	pieces [][]luaMember
	at     map[string]int // the piece that holds an address
}

// A luaChange is a member that is not what it should be; -1 is the weight of none.
type luaChange struct{ from, to int }

// left says that the member gets no new requests any more, back that it gets some again.
func (c luaChange) left() bool { return c.from > 0 && c.to <= 0 }
func (c luaChange) back() bool { return c.to > 0 }

// parseLuaPool reads the texts of pieces.
func parseLuaPool(texts []string) (*luaPool, error) {
	p := &luaPool{at: map[string]int{}}
	for i, text := range texts {
		var piece []luaMember
		for one := range strings.SplitSeq(text, ";") {
			if text == "" {
				break
			}
			address, weight, _ := strings.Cut(one, " ")
			n, err := strconv.Atoi(weight)
			if _, twice := p.at[address]; err != nil || n < 0 || twice {
				return nil, fmt.Errorf("%.80q is not a member", one)
			}
			piece = append(piece, luaMember{address, n})
			p.at[address] = i
		}
		p.pieces = append(p.pieces, piece)
	}
	return p, nil
}

// differences compares all that nginx has with what it should have.
func (p *luaPool) differences(want []Member) map[string]luaChange {
	changes := make(map[string]luaChange)
	weights := make(map[string]int, len(want))
	for _, m := range want {
		weights[m.Address] = m.Weight
		if _, ok := p.at[m.Address]; !ok {
			changes[m.Address] = luaChange{-1, m.Weight}
		}
	}
	for _, piece := range p.pieces {
		for _, has := range piece {
			weight, ok := weights[has.address]
			if !ok {
				weight = -1
			}
			if weight != has.weight {
				changes[has.address] = luaChange{has.weight, weight}
			}
		}
	}
	return changes
}

// memberDifferences does the same for what it has been given before. Both are sorted by
// name: to compare them takes no table of all.
func memberDifferences(before, after []Member) map[string]luaChange {
	changes := make(map[string]luaChange)
	note := func(m Member, gone bool) {
		c, ok := changes[m.Address]
		if !ok {
			c = luaChange{-1, -1}
		}
		if gone {
			c.from = m.Weight
		} else {
			c.to = m.Weight
		}
		changes[m.Address] = c
	}
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].Name < after[0].Name:
			note(before[0], true)
			before = before[1:]
		case len(before) == 0 || after[0].Name < before[0].Name:
			note(after[0], false)
			after = after[1:]
		default:
			if before[0] != after[0] {
				note(before[0], true)
				note(after[0], false)
			}
			before, after = before[1:], after[1:]
		}
	}
	for address, c := range changes {
		if c.from == c.to {
			delete(changes, address)
		}
	}
	return changes
}

// change makes the changes, and gives the commands by which nginx does.
func (p *luaPool) change(name string, changes map[string]luaChange) []string {
	if len(changes) == 0 {
		return nil
	}
	touched := map[int]bool{}
	var join []luaMember
	for address, c := range changes {
		i, ok := p.at[address]
		if !ok {
			if c.to >= 0 {
				join = append(join, luaMember{address, c.to})
			}
			continue
		}
		touched[i] = true
		k := slices.IndexFunc(p.pieces[i], func(m luaMember) bool { return m.address == address })
		if c.to >= 0 {
			p.pieces[i][k].weight = c.to
			continue
		}
		p.pieces[i] = slices.Delete(p.pieces[i], k, k+1)
		delete(p.at, address)
	}
	slices.SortFunc(join, func(a, b luaMember) int { return strings.Compare(a.address, b.address) })
	piece := 0
	for _, m := range join {
		for piece < len(p.pieces) && len(p.pieces[piece]) >= luaPiece {
			piece++
		}
		if piece == len(p.pieces) {
			p.pieces = append(p.pieces, nil)
		}
		p.pieces[piece] = append(p.pieces[piece], m)
		p.at[m.address] = piece
		touched[piece] = true
	}
	for len(p.pieces) > 0 && len(p.pieces[len(p.pieces)-1]) == 0 {
		p.pieces = p.pieces[:len(p.pieces)-1]
	}
	return p.commands(name, touched)
}

// commands write the pieces that were touched. Each names its pool, so that they may be
// said at different times.
func (p *luaPool) commands(name string, touched map[int]bool) []string {
	pool := fmt.Sprintf("write %s %d", name, len(p.pieces))
	list := []string{pool}
	size := 0
	for i, piece := range p.pieces {
		if !touched[i] {
			continue
		}
		var text strings.Builder
		fmt.Fprintf(&text, "piece %d ", i+1)
		for k, m := range piece {
			if k > 0 {
				text.WriteByte(';')
			}
			text.WriteString(m.address)
			text.WriteByte(' ')
			text.WriteString(strconv.Itoa(m.weight))
		}
		if size += text.Len(); size > maxLuaBody/2 {
			list, size = append(list, pool), text.Len()
		}
		list = append(list, text.String())
	}
	return list
}
