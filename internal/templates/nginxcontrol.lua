
-- What rollcall says over the control socket, and what the file says at a start or reload.

-- pieces_of cuts members, "ADDRESS WEIGHT" each, into the texts of pieces.
local function pieces_of(members)
    local pieces = {}
    for i = 1, #members, PIECE do
        pieces[#pieces + 1] = table.concat(members, ";", i, min(i + PIECE - 1, #members))
    end
    return pieces
end

local function must(ok, err)
    if not ok then error("rollcall: the memory of members, rollcall_members: " .. err, 0) end
end

-- put writes a piece; its text first, so that who sees the version sees at least that text.
local function put(name, i, text)
    must(dict:safe_set("c " .. name .. " " .. i, text))
    local version = "u " .. name .. " " .. i
    if not dict:incr(version, 1) then must(dict:safe_set(version, 1)) end
end

-- bound says how many pieces a pool has, and forgets the others.
local function bound(name, pieces)
    local before = dict:get("k " .. name) or 0
    must(dict:safe_set("k " .. name, pieces))
    for i = pieces + 1, before do dict:delete("c " .. name .. " " .. i) end
end

-- changed tells the workers: last, when all of it is there.
local function changed(name)
    if not dict:incr("v " .. name, 1) then must(dict:safe_set("v " .. name, 1)) end
end

-- load_pool makes a pool what the file says.
local function load_pool(name, members, this)
    local pieces = pieces_of(members)
    local same = dict:get("k " .. name) == #pieces
    for i = 1, same and #pieces or 0 do same = same and dict:get("c " .. name .. " " .. i) == pieces[i] end
    must(dict:safe_set("l " .. name, this))
    if same then return end
    if not dict:get("r " .. name) then must(dict:safe_set("r " .. name, 0)) end
    for i, text in ipairs(pieces) do put(name, i, text) end
    bound(name, #pieces)
    changed(name)
end

-- forget removes what workers that were killed have left, and the pools that neither this
-- configuration has nor the one before it, whose workers may still run.
local function forget(this)
    local lives = {}
    for _, w in ipairs(workers()) do lives[w] = true end
    for _, key in ipairs(dict:get_keys(0)) do
        local kind, word = key:match("^(%a) (%S+)")
        if kind == "n" then
            if not lives[word] then dict:delete(key) end
        elseif kind == "v" and (dict:get("l " .. word) or 0) < this - 1 then
            local i = 1
            while dict:get("u " .. word .. " " .. i) do
                dict:delete("c " .. word .. " " .. i)
                dict:delete("u " .. word .. " " .. i)
                i = i + 1
            end
            for _, k in ipairs { "v ", "k ", "r ", "l " } do dict:delete(k .. word) end
        end
    end
end

-- read_file takes the members of the file: a list of pool names, each before its members.
-- "memory" is another one when what was counted is not known any more, "load" when the
-- members may be others than rollcall has put there.
local function read_file(list)
    dict:flush_expired()
    dict:safe_add("memory", ngx.now() .. "." .. ngx.worker.pid())
    for _, key in ipairs { "load", "w", "registered", "uncounted" } do dict:safe_add(key, 0) end
    local this, err = dict:incr("load", 1)
    must(this, err)
    local name, members = nil, {}
    for i = 1, #list + 1 do
        local word = list[i]
        if word and word:find(" ", 1, true) then
            members[#members + 1] = word
        else
            if name then load_pool(name, members, this) end
            name, members = word, {}
        end
    end
    forget(this)
end

local commands = {}

-- write NAME PIECES: what follows are pieces of this pool, and it has that many.
function commands.write(answer, name, pieces)
    if not dict:get("v " .. name) then return "no pool " .. name end
    if answer.writing then changed(answer.writing) end
    answer.writing = name
    bound(name, tonumber(pieces))
end

-- piece I TEXT
function commands.piece(answer, i, text) put(answer.writing, i, text or "") end

-- read NAME: how many pieces the pool has, and then each.
function commands.read(answer, name)
    local pieces = dict:get("k " .. name)
    if not pieces then return "no pool " .. name end
    answer[#answer + 1] = "pool " .. name .. " " .. pieces
    for i = 1, pieces do answer[#answer + 1] = dict:get("c " .. name .. " " .. i) or "" end
end

-- count NAME ADDRESS: how many requests to it are running; at least one while some
-- could not be counted.
function commands.count(answer, name, address)
    answer.workers = answer.workers or workers()
    local n = dict:get("uncounted")
    for _, w in ipairs(answer.workers) do n = n + (dict:get("n " .. w .. " " .. name .. " " .. address) or 0) end
    answer[#answer + 1] = n
end

-- running: all that have running requests, as NAME ADDRESS.
function commands.running(answer)
    local lives, seen = {}, {}
    for _, w in ipairs(workers()) do lives[w] = true end
    for _, key in ipairs(dict:get_keys(0)) do
        local w, member = key:match("^n (%S+) (.*)$")
        if w and lives[w] and not seen[member] then
            seen[member] = true
            answer[#answer + 1] = member
        end
    end
end

local function refuse(status, why)
    ngx.status = status
    ngx.print(why, "\n")
end

-- control carries out commands, a line each. The first line of them says for which
-- structure, memory and load they are meant, where that matters; the first of the answer
-- says which there are. Who may is told by a secret, of which only the hash is known here.
function rollcall.control()
    if ngx.encode_base64(ngx.sha1_bin(ngx.req.get_headers()["Rollcall-Secret"] or "")) ~= secret then
        return refuse(403, "the secret is another one")
    end
    ngx.req.read_body()
    local now = structure .. " " .. dict:get("memory") .. " " .. dict:get("load")
    local answer = { now }
    for line in (ngx.req.get_body_data() or ""):gmatch("[^\n]+") do
        local command, one, other = line:match("^(%l+) ?([^ ]*) ?(.*)$")
        if command == "on" then
            if line:sub(4) ~= now then return refuse(409, now) end
        elseif not commands[command] then
            return refuse(400, "not a command: " .. line)
        else
            local ok, err = pcall(commands[command], answer, one, other)
            if not ok or err then
                if answer.writing then changed(answer.writing) end
                return refuse(ok and 404 or 507, err)
            end
        end
    end
    if answer.writing then changed(answer.writing) end
    ngx.print(table.concat(answer, "\n"), "\n")
end

read_file(members)
