<?php
// Includes generated functions, calls them, and works on texts and arrays; prints a hash and how many functions there are.
$hash = hash_init("sha256");
$count = 0;
for ($k = 0; $k < 60; $k++) {
    require __DIR__ . "/part$k.php";
    for ($i = 0; $i < 40; $i++, $count++) {
        $name = "f{$k}_$i";
        $sum = 0;
        for ($n = 0; $n < 30; $n++) $sum += $name(range(1, 100), $n);
        hash_update($hash, "$name=$sum;");
    }
}
class Node {
    public array $children = [];
    public function __construct(public string $name, public ?Node $parent = null) {}
}
for ($round = 0; $round < 10; $round++) {
    $root = new Node("root");
    $all = [$root];
    for ($i = 1; $i < 20000; $i++) {
        $parent = $all[($i * 7919) % count($all)];
        $all[] = $parent->children[] = new Node("node$i", $parent);
    }
    usort($all, fn($a, $b) => count($b->children) <=> count($a->children) ?: strcmp($a->name, $b->name));
    $text = implode(",", array_map(fn($node) => $node->name . ":" . count($node->children), $all));
    hash_update($hash, preg_replace_callback('/node(\d+)/', fn($m) => strrev($m[1]), $text));
    hash_update($hash, serialize(unserialize(serialize(array_slice(json_decode(json_encode(explode(",", $text))), 0, 500)))));
    unset($root, $all);
    gc_collect_cycles();
}
echo hash_final($hash), " $count\n";
