-- Which member a request goes to. What the members are stands in memory that all workers
-- share, old ones too: rollcall changes it over the control socket, and whatever is
-- started after its answer goes by the change. Pools are kept in pieces, each with a
-- version, so that a change costs a worker what has changed.
--
-- Keys: "v P" version of a pool, "k P" how many pieces it has, "u P I" and "c P I" version
-- and text of one, "r P" turns taken, "l P" the last start or reload that knew it, "w I" a
-- worker, "n W P A" its running requests, "f P A" failures, "x P A" passed over.
local dict = ngx.shared.rollcall_members
local peer = require "ngx.balancer"
local request = require("resty.core.base").get_request
local address_of = require("ffi").cast
local band, bxor, rshift, tobit = bit.band, bit.bxor, bit.rshift, bit.tobit
local floor, log, min, random = math.floor, math.log, math.min, math.random

local PIECE = 64           -- members
local FAILURES, PAUSE = 3, 2 -- so many within so many seconds, and it is passed over as long
local BUSY = -3            -- nginx's NGX_BUSY: no server can be asked

local me          -- this worker, as its process id and start; nil in the master
local pools = {}  -- by name, as this worker knows them
local running = {} -- by the key of its count: requests of this worker
local asked = {}  -- by request: the member that it is counted for
local tried = {}  -- by request: the addresses that have failed it

-- Not the request itself, which is the same all the way through internal redirects.
local function id() return tonumber(address_of("uintptr_t", request())) end

-- started gives when a process has begun, field 22 of proc(5); nil when it is gone.
local function started(pid)
    local file = io.open("/proc/" .. pid .. "/stat")
    local text = file and file:read("*a")
    if file then file:close() end
    local state, rest = (text or ""):match("^.*%) (%a)(.*)$")
    if not state or state == "Z" or state == "X" then return nil end
    local n = 3
    for field in rest:gmatch("%S+") do
        n = n + 1
        if n == 22 then return field end
    end
end

-- workers lists those that live, and forgets the others.
local function workers()
    local sighted, list = started("self"), {}
    for i = 1, dict:get("w") or 0 do
        local w = dict:get("w " .. i)
        local pid, start = (w or ""):match("^(%d+)%.(%d+)$")
        if pid and sighted and started(pid) ~= start then
            dict:delete("w " .. i)
        elseif pid then
            list[#list + 1] = w
        end
    end
    return list
end

local function register()
    local pid = ngx.worker.pid()
    me = pid .. "." .. (started("self") or 0)
    math.randomseed(pid + 1000 * ngx.now())
    workers()
    for i = 1, 100000 do
        local ok, err = dict:safe_add("w " .. i, me)
        if ok then
            if i > dict:get("w") then dict:set("w", i) end
            dict:incr("registered", 1)
            return
        elseif err ~= "exists" then
            break
        end
    end
    dict:incr("uncounted", 1) -- all that it does
    ngx.log(ngx.ERR, "rollcall: no memory to register a worker")
end

-- count adds to the running requests of a member. That it could not be noted is itself
-- noted, in a number that is there from the start: until then nothing is called drained.
local function count(member, by)
    if member.uncounted then
        dict:incr("uncounted", by)
        return member
    end
    local n = (running[member.count] or 0) + by
    if n <= 0 then
        running[member.count] = nil
        dict:delete(member.count)
        return member
    end
    if not dict:safe_set(member.count, n) then
        dict:incr("uncounted", by)
        return { uncounted = true, address = member.address, key = member.key }
    end
    running[member.count] = n
    return member
end

local function gcd(a, b)
    while b ~= 0 do a, b = b, a % b end
    return a
end

-- parse reads the text of a piece: "ADDRESS WEIGHT" joined by ";".
local function parse(pool, text)
    local list = {}
    for address, weight in text:gmatch("([^ ;]+) (%d+)") do
        weight = tonumber(weight)
        if weight > 0 then
            local key = pool.name .. " " .. address
            list[#list + 1] = {
                address = address, weight = weight, key = key,
                count = "n " .. me .. " " .. key, out = "x " .. key, hash = ngx.crc32_long(key),
            }
        end
    end
    return list
end

-- refresh says whether the pool has changed since the last time.
local function refresh(pool)
    local version = dict:get(pool.v)
    if version == pool.version then return false end
    local pieces, list, upto, total, unit = {}, {}, {}, 0, 0
    for i = 1, dict:get(pool.k) or 0 do
        local known, now = pool.pieces[i], dict:get(pool.u .. i)
        if not known or known.version ~= now then
            known = { version = now, list = parse(pool, dict:get(pool.c .. i) or "") }
        end
        pieces[i] = known
        for _, m in ipairs(known.list) do
            total, unit = total + m.weight, gcd(m.weight, unit)
            list[#list + 1], upto[#upto + 1] = m, total
        end
    end
    pool.version, pool.pieces, pool.list, pool.upto, pool.total = version, pieces, list, upto, total
    -- Turns go through all points from 0 to total in steps that have no factor in common with
    -- it: each is met once in a round, and those of one member are far from each other.
    pool.unit, pool.turns = unit, unit > 0 and total / unit or 0
    pool.step = floor(pool.turns * 0.618034 + 0.5)
    while pool.turns > 1 and gcd(pool.turns, pool.step) ~= 1 do pool.step = pool.step + 1 end
    return true
end

local function view(name)
    local pool = pools[name]
    if not pool then
        if not me then register() end
        pool = { name = name, v = "v " .. name, k = "k " .. name, u = "u " .. name .. " ", c = "c " .. name .. " ", r = "r " .. name, pieces = {} }
        pools[name] = pool
        refresh(pool)
    end
    return pool
end

-- at gives the member that has a point from 0 to below the total of weights.
local function at(pool, point)
    local upto, low, high = pool.upto, 1, #pool.list
    while low < high do
        local middle = floor((low + high) / 2)
        if upto[middle] > point then high = middle else low = middle + 1 end
    end
    return pool.list[low], low
end

local function turn(pool)
    local n = dict:incr(pool.r, 1) or random(2 ^ 31)
    return at(pool, (n % pool.turns) * pool.step % pool.turns * pool.unit)
end

local function draw(pool) return at(pool, random() * pool.total) end

local lives, looked, known = {}, 0, -1 -- the workers that live, and when that was looked up

-- burden gives the running requests for each unit of weight.
local function burden(member)
    local n = 0
    for _, w in ipairs(lives) do n = n + (dict:get("n " .. w .. " " .. member.key) or 0) end
    return n / member.weight
end

local function look()
    local registered = dict:get("registered")
    if registered ~= known or ngx.now() - looked >= 1 then
        lives, looked, known = workers(), ngx.now(), registered
    end
end

local function mix(x)
    x = tobit((bxor(x, rshift(x, 16)) % 2 ^ 32) * 0x45d9f)
    x = tobit((bxor(x, rshift(x, 15)) % 2 ^ 32) * 0x45d9f)
    return bxor(x, rshift(x, 16)) % 2 ^ 32
end

local ways = {} -- each gives a member, not one of those that are excepted if it can

function ways.roundrobin(pool) return (turn(pool)) end

function ways.random(pool)
    look()
    local one, other = draw(pool), (draw(pool))
    if other ~= one and burden(other) < burden(one) then return other end
    return one
end

-- The least loaded; of many members, the least of some. Among equals, whose turn it is.
function ways.leastconn(pool, except)
    look()
    local reads, n = 128, #pool.list
    local all = n * #lives <= reads
    local first, place = turn(pool)
    local best, least = nil, nil
    for i = 0, all and n - 1 or floor(reads / #lives) + 1 do
        local m = first
        if i > 0 then m = all and pool.list[(place + i - 1) % n + 1] or draw(pool) end
        if not (except and except[m.address]) then
            local load = burden(m)
            if not least or load < least then best, least = m, load end
        end
    end
    return best
end

-- The highest of each member's draw for this client (rendezvous hashing): a member that
-- comes or goes moves no other's clients.
function ways.source(pool, except)
    local client, best, most = ngx.crc32_long(ngx.var.remote_addr), nil, nil
    for _, m in ipairs(pool.list) do
        if not (except and except[m.address]) then
            local score = log((mix(bxor(m.hash, client)) + 0.5) / 2 ^ 32) / m.weight
            if not most or score > most then best, most = m, score end
        end
    end
    return best
end

-- choose gives a member that has not failed this request and is not passed over; if there
-- is none, one that has not failed it; if there is none, any.
local function choose(pool, failed)
    local n = #pool.list
    if n < 2 then return pool.list[1] end
    local except, last = failed, nil
    for _ = 1, min(n, 8) do
        local m = ways[way](pool, except)
        if not m then break end
        if not (except and except[m.address]) then
            if not dict:get(m.out) then return m end
            last = last or m
            except = setmetatable({ [m.address] = true }, { __index = except })
        end
    end
    local _, place = draw(pool)
    for i = 1, min(n, 64) do
        local m = pool.list[(place + i - 1) % n + 1]
        if not (failed and failed[m.address]) then
            if not dict:get(m.out) then return m end
            last = last or m
        end
    end
    return last or draw(pool)
end

local function fail(member)
    local key = "f " .. member.key
    if not dict:safe_add(key, 1, PAUSE) and (dict:incr(key, 1) or 0) >= FAILURES then
        dict:safe_set("x " .. member.key, true, PAUSE)
        dict:delete(key)
    end
end

rollcall = {}

-- admit answers the requests for a service without a member.
function rollcall.admit(name)
    local pool = view(name)
    refresh(pool)
    if pool.total == 0 then
        ngx.header["Retry-After"] = 5
        return ngx.exit(503)
    end
end

-- balance chooses a member, counts the request, and looks whether the pool is still the
-- same then. Whoever takes a member out writes first and reads the counts afterwards: so
-- either the request is among them, or it goes elsewhere.
function rollcall.balance(name)
    local pool, r = view(name), id()
    local before = asked[r]
    if before then
        asked[r] = nil
        count(before, -1)
        if peer.get_last_failure() then
            fail(before)
            tried[r] = tried[r] or {}
            tried[r][before.address] = true
        end
    end
    local member
    repeat
        if member then count(member, -1) end
        if not pool.list[1] and not refresh(pool) then return ngx.exit(BUSY) end
        member = pool.list[1] and count(choose(pool, tried[r]), 1)
    until not refresh(pool)
    if not member then return ngx.exit(BUSY) end
    if not ngx.is_subrequest then -- nobody tells us of the end of such a one
        asked[r] = member
    else
        count(member, -1)
    end
    if not peer.get_last_failure() and #pool.list > 1 then peer.set_more_tries(2) end
    local ok, err = peer.set_current_peer(member.address)
    if not ok then
        ngx.log(ngx.ERR, "rollcall: ", member.key, ": ", err)
        return ngx.exit(ngx.ERROR)
    end
end

-- over takes a request out of the count, and notes the failure that was its last.
function rollcall.over()
    local r = id()
    local member = asked[r]
    tried[r] = nil
    if not member then return end
    asked[r] = nil
    count(member, -1)
    if ngx.status >= 502 and (ngx.var.upstream_header_time or ""):sub(-1) == "-" then fail(member) end
end
