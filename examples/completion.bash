# bash completion of the gputel programs: their options are asked from themselves, so they cannot disagree.
_gputel()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	case $previous in
	--time) mapfile -t COMPREPLY < <(compgen -W "source now" -- "$word") ;;
	--dead-letters) mapfile -t COMPREPLY < <(compgen -W "list show replay drop" -- "$word") ;;
	*)
		if [[ $word == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$("$1" --help 2>/dev/null |
				grep -oE '^ +(-[a-zA-Z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+')" -- "$word")
		else
			compopt -o filenames 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -f -- "$word")
		fi
		;;
	esac
}
complete -F _gputel gputel-streamer gputel-collector gputel-fs gputel-bridge
