# Parses, walks, rewrites and compiles a source: trees of many small Python objects.
import ast
import sys

text = open(sys.argv[1]).read()
names, nodes = {}, 0
tree = ast.parse(text)
for node in ast.walk(tree):
    nodes += 1
    names.setdefault(type(node).__name__, set()).add((getattr(node, "lineno", 0), nodes % 1000))
code = compile(ast.fix_missing_locations(tree), "source", "exec")
print(nodes, sorted((name, len(found)) for name, found in names.items()), len(code.co_consts))
