"""What the real programs work on: sources, documents, data and scripts, made up on the spot.

Always holds: everything follows from the size asked for, with a fixed seed; every function returns the
whole text of one input; nothing is read from outside.
"""
import json
import random

WORDS = ("alder birch cedar dogwood elm fir ginkgo hazel ironwood juniper katsura larch maple nutmeg oak pine "
         "quince rowan spruce tulip umbrella viburnum willow yew zelkova").split()


def sentence(source, words):
    return " ".join(source.choice(WORDS) for _ in range(words))


def cpp_source(types):
    """C++ with as many record types, each of which instantiates containers, algorithms and a variant."""
    parts = ["#include <algorithm>\n#include <functional>\n#include <map>\n#include <memory>\n#include <string>\n"
             "#include <unordered_map>\n#include <variant>\n#include <vector>\n"
             "template <int N> struct Chain { int value = N; Chain<N - 1> rest; };\n"
             "template <> struct Chain<0> { int value = 0; };\n"]
    for i in range(types):
        parts.append(f"""
struct Record{i} {{ int id; std::string name; Chain<{i % 40 + 20}> chain;
  bool operator<(const Record{i} &other) const {{ return name < other.name; }} }};
int use{i}(std::vector<Record{i}> &records) {{
  std::map<std::string, std::vector<Record{i}>> groups;
  std::unordered_map<int, std::unique_ptr<Record{i}>> index;
  std::sort(records.begin(), records.end());
  for (auto &record : records) {{
    groups[record.name].push_back(record);
    index.emplace(record.id, std::make_unique<Record{i}>(record));
  }}
  std::variant<int, std::string, Record{i}> any = records.front();
  std::function<int(int)> add = [&](int n) {{ return n + static_cast<int>(groups.size() + index.size()); }};
  return std::visit([&](auto &held) {{ return add(static_cast<int>(sizeof held)); }}, any);
}}
""")
    return "".join(parts)


def records(count):
    """A list of nested records, as services send them to each other."""
    source = random.Random(1)
    return [{"id": i, "name": sentence(source, 3), "score": source.random() * 100, "group": source.choice(WORDS),
             "tags": source.sample(WORDS, source.randrange(6)),
             "owner": {"name": source.choice(WORDS), "level": source.randrange(9), "active": i % 3 == 0}}
            for i in range(count)]


def json_text(count):
    return json.dumps(records(count))


def xml_text(count):
    parts = ['<?xml version="1.0"?>\n<library>\n']
    for record in records(count):
        tags = "".join(f"<tag>{tag}</tag>" for tag in record["tags"])
        parts.append(f'<book id="b{record["id"]}" group="{record["group"]}"><title>{record["name"]}</title>'
                     f'<price>{record["score"]:.2f}</price>{tags}</book>\n')
    return "".join([*parts, "</library>\n"])


def lines_text(count):
    source = random.Random(2)
    return "".join(f"{source.randrange(count // 4)} {source.choice(WORDS)} {sentence(source, 6)}\n"
                   for _ in range(count))


def sql_text(count):
    return f"""
PRAGMA cache_size = 100000;
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, town INTEGER, born INTEGER);
CREATE TABLE visit(id INTEGER PRIMARY KEY, person INTEGER, place TEXT, paid REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
  INSERT INTO person SELECT i, 'person ' || (i * 7919 % {count}), i * 31 % 997, 1900 + i * 17 % 100 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {2 * count})
  INSERT INTO visit SELECT i, i * 7907 % {count} + 1, 'place ' || (i % 1009), i % 97 * 1.5 FROM n;
CREATE INDEX person_name ON person(name);
CREATE INDEX visit_person ON visit(person);
SELECT count(*), sum(paid) FROM person JOIN visit ON visit.person = person.id WHERE born > 1950;
SELECT town, count(DISTINCT name), group_concat(name) FROM person GROUP BY town ORDER BY 2 DESC LIMIT 3;
SELECT place, sum(paid), count(*) FROM visit GROUP BY place ORDER BY 2 DESC, 1 LIMIT 3;
UPDATE person SET name = name || ' the elder' WHERE born < 1930;
DELETE FROM visit WHERE id % 3 = 0;
SELECT count(*), max(name) FROM person WHERE name LIKE '%elder';
"""


def verifier_text(problems, variables=20):
    """Many small problems with integers, arrays and functions, one after the other, as program verifiers ask them."""
    source = random.Random(3)
    parts = ["(set-logic QF_AUFLIA)\n"]
    for problem in range(problems):
        parts.append("(push 1)\n(declare-fun f (Int) Int)\n(declare-const t (Array Int Int))\n")
        parts += [f"(declare-const x{i} Int)\n" for i in range(variables)]
        for i in range(variables - 3):
            low, more = source.randrange(100), source.randrange(50)
            different = f"(distinct (f x{i}) (f x{i + 1}) (f x{i + 2}))"
            parts.append(f"(assert (and (< {low} x{i}) (< x{i} {low + 60}) {different}))\n"
                         f"(assert (= (select (store t x{i} x{i + 1}) x{i + 2}) (+ (f x{i + 3}) {more})))\n")
        parts.append("(check-sat)\n(pop 1)\n")
    return "".join(parts)


def redis_commands(count):
    """Commands in the protocol's own form: strings, hashes, lists and sorted sets, some overwritten or deleted."""
    source = random.Random(5)
    parts = []
    for i in range(count):
        key, value = f"key:{source.randrange(count // 2)}", "v" * source.randrange(8, 400)
        command = source.choice([("SET", key, value), ("SET", key, value), ("DEL", key), ("APPEND", key, "more"),
                                 ("HSET", f"h:{i % 5000}", key, value), ("RPUSH", f"l:{i % 5000}", value),
                                 ("ZADD", f"z:{i % 500}", str(i), key)])
        parts.append(f"*{len(command)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in command))
    return "".join(parts)


def python_source(functions):
    """Python for Python to parse: as many functions with nested expressions, dicts and comprehensions."""
    return "".join(f"def f{i}(a, b=({i}, 'x'), *c, **d):\n    if a > {i} and b[0] in c:\n"
                   f"        return {{'k{i}': [x * {i} + y for x in c for y in d], **d}}\n"
                   f"    for i in range(a):\n        b = (b[0] + i, f'{{a}} {{i}}' + str(b))\n    return a, b, c\n"
                   for i in range(functions))
