-- Two requests for each address, which is new: one with the shop's key, and one with an unknown key, which is new, too.
-- Words after `--`: the number of the run, by which runs differ, up to 255, and the shop's key.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  run, shop = tonumber(args[1]), args[2]
  asked = 0
end

function request()
  local identity = math.floor(asked / 2)
  local key = shop
  if asked % 2 == 1 then
    key = string.format("owk_sec_%04x%04x%032x", run, number, identity)
  end
  asked = asked + 1
  -- One /64 each: 8 bits of the run, 4 of the thread, 20 of the identity.
  local high, low = math.floor(identity / 65536), identity % 65536
  local address = string.format("2001:db8:%02x%x%x:%x::1", run, number, high, low)
  local headers = { ["Authorization"] = "Bearer " .. key, ["X-Forwarded-For"] = address }
  return wrk.format("GET", "/v1/products/THING", headers)
end
