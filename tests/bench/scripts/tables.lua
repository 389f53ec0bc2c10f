-- Builds, sorts and drops tables of strings and small objects, over and over.
local count, rounds = tonumber(arg[1]), 3
for round = 1, rounds do
  local objects, by_name = {}, {}
  for i = 1, count do
    local name = "object " .. (i * 7919 % count)
    local object = { name = name, x = i, children = {}, text = name:upper() .. round }
    objects[i] = object
    by_name[name] = object
    local parent = objects[i // 2]
    if parent then parent.children[#parent.children + 1] = object end
  end
  table.sort(objects, function(a, b) return a.name < b.name end)
  local parts, sum = {}, 0
  for i, object in ipairs(objects) do
    parts[i] = object.text:gsub("OBJECT", "o")
    sum = sum + #object.children
  end
  print(#table.concat(parts, ","), sum)
end
