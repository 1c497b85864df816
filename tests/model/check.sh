#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check.sh [model] - searches each model exhaustively, which must find no error; then each of its
# mutants, in which one rule of the protocol is left out, and which must be caught.
#
# 0: all is as expected. 1: it is not. 77: spin isn't installed.
set -u

here=$(cd "$(dirname "$0")" && pwd)
only=${1:-}
compiler=${CC:-cc}
memory=3000 # MiB that a search may take

# model: its mutants, without the prefix
table='
ring: NO_RECHECK NO_MARKING MARK_IS_ZERO PENDING_IGNORED HOLDS_BEFORE_PENDING BUDGET
ring: HINT_IS_TRUSTED WATCHES_UNANNOUNCED NO_OVERRUN_CHECK
ring-holds: BUDGET
ring-loans: NO_MARK_ON_REANNOUNCEMENT MARK_BEFORE_SLOT MARK_AFTER_COMMIT SLOT_AFTER_COMMIT
ring-loans: NO_REANNOUNCEMENT NO_SECOND_LOOK_AT_SLOT
ring-crash: MARK_IS_ZERO
ring-join: NEWEST_IS_ANNOUNCED GONE_IS_COMMITTED START_AFTER_TOLD PENDING_IGNORED
ring-wrap: LAPS_BY_SIZE
ring-fences: NO_WRITER_FENCE NO_READER_FENCE
arming: ATTACH_ARMED_IGNORED ATTACH_ARMED_FIRST ATTACH_FORGETS_OTHERS BOARD_REMEMBERED_AFTER_SCAN
arming: LOOK_BEFORE_COMMIT DISARM_BEFORE_DRAIN NO_DISARM NO_LAST_LOOK
adaptive-fence: NO_PUBLISH_FENCE NO_FENCE_AT_SWITCH NO_MEMBARRIER NO_BROKER_MEMBARRIER
adaptive-fence: FLAG_IGNORED INTAKE_WITHOUT_FENCE NO_ARM_FENCE
adaptive-fence-lost: INTRODUCTION_NOT_HEEDED
introduction: PENDING_BEFORE_ADDED SEGMENT_BEFORE_PENDING PENDING_IGNORED FINAL_WHILE_HELD
introduction: FINAL_AFTER_EVICTION CREDIT_IGNORED REMOVED_WITHOUT_CREDIT NOT_ACKNOWLEDGED
resume: QUEUED_DROPPED MEMBERS_FORGOTTEN OLD_PAGE ONE_SIDE_IS_ENOUGH
resume-boards: BOARDS_NOT_COMPARED SEEN_AFTER_ARMED MOVED_ARMED_IGNORED OLD_BOARD_DROPPED
'

if ! command -v spin >/dev/null; then
	echo "spin isn't installed: no model is checked"
	exit 77
fi
for tool in "$compiler" awk mktemp; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 1; }
done

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# search <model> [mutant]: leaves what the search said in pan.out. No: it did not run to an end.
search()
{
	rm -f pan pan.* ./*.trail
	# The include is found beside the model; nothing is written there.
	spin ${2:+-DMUTANT_$2} -a "$here/$1.pml" >spin.out 2>&1 || { cat spin.out; return 1; }
	"$compiler" -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=$memory -o pan pan.c || return 1
	./pan -m1000000 -w22 >pan.out 2>&1
	grep -q '^State-vector.*errors:' pan.out
}

# Whether the search was of all states: not out of memory, time or depth.
exhaustive()
{
	! grep -Eq 'Search not completed|max search depth too small|out of memory|truncated' pan.out
}

states()
{
	awk '/states, stored/ { print $1; exit }' pan.out
}

seconds()
{
	awk '/elapsed time/ { print $4; exit }' pan.out
}

checked=0
caught=0
failed=0

fail()
{
	echo "FAILED $*"
	failed=$((failed + 1))
	test -f pan.out && sed 's/^/    /' pan.out | head -n 8
}

check_model()
{
	if search "$1" && exhaustive && grep -q 'errors: 0' pan.out; then
		elapsed=$(seconds)
		echo "ok $1 $(states) states ${elapsed:-0} s"
		checked=$((checked + 1))
	else
		fail "$1: an error was found, or not all states were seen"
	fi
}

check_mutant()
{
	if search "$1" "$2" && grep -Eq '^pan:1: (assertion violated|invalid end state|acceptance cycle)' pan.out; then
		echo "ok $1 MUTANT_$2 caught: $(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' pan.out | head -n 1)"
		caught=$((caught + 1))
	else
		fail "$1 MUTANT_$2 was not caught"
	fi
}

# A mutant that is written down and never searched would prove nothing.
check_table()
{
	local mutant

	for mutant in $(grep -ho 'MUTANT_[A-Z_]*' "$here"/*.pml "$here"/*.inc | sort -u); do
		grep -qw "${mutant#MUTANT_}" <<<"$table" || fail "$mutant is in no line of the table"
		grep -q "\`${mutant#MUTANT_}\`" "$here/README.md" || fail "$mutant is not in README.md"
	done
	for mutant in $(sed 's/^[^:]*://' <<<"$table"); do
		grep -qw "MUTANT_$mutant" "$here"/*.pml "$here"/*.inc || fail "no model knows MUTANT_$mutant"
	done
}

check_table
done_with=' '
while IFS=: read -r model mutants; do
	test -n "$model" || continue
	test -z "$only" || test "$only" = "$model" || continue
	case $done_with in
	*" $model "*) ;;
	*)
		check_model "$model"
		done_with="$done_with$model "
		;;
	esac
	for mutant in $mutants; do
		check_mutant "$model" "$mutant"
	done
done <<<"$table"

if test "$checked" -eq 0 && test "$failed" -eq 0; then
	echo "there is no model '$only'"
	exit 1
fi
echo "$checked models without error, $caught mutants caught, $failed failures, $SECONDS s"
test "$failed" -eq 0
