/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report-plot.c - what gnuplot is told.
 *
 * Results: a panel for each way of measuring, with a line for each transport over the payload (of
 * publish: for each kind of readers over their number), all on logarithmic scales; the floor is a
 * horizontal line. Lines differ in colour, dash and mark, so that any two of these can be lost: the
 * colours are those of Okabe and Ito, which the colour-blind tell apart, and transports of one
 * family share one.
 */
#include "report-plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "stats.h"

enum {
        PANELS_MAX = 16,
        VALUES_MAX = 64, /* places on the x axis of a panel, transports in it */
        COLUMNS = 2,
        PANEL_WIDTH = 520,
        PANEL_HEIGHT = 380,
        LEGEND_HEIGHT = 70,
        FOOT_HEIGHT = 24,
};

static const struct style {
        const char *transport;
        const char *look; /* the end of a gnuplot line style */
} styles[] = {
        {"floor-readonly", "lc rgb '#000000' dt 3 lw 1.5 pt 1"},
        {"pipe", "lc rgb '#0072B2' dt 1 lw 1.5 pt 4"},
        {"unix-stream", "lc rgb '#009E73' dt 1 lw 1.5 pt 8"},
        {"unix-dgram", "lc rgb '#009E73' dt 2 lw 1.5 pt 9"},
        {"unix-seqpacket", "lc rgb '#009E73' dt 4 lw 1.5 pt 10"},
        {"tcp", "lc rgb '#56B4E9' dt 5 lw 1.5 pt 12"},
        {"posix-mq", "lc rgb '#E69F00' dt 1 lw 1.5 pt 6"},
        {"sysv-mq", "lc rgb '#E69F00' dt 2 lw 1.5 pt 2"},
        {"eventfd", "lc rgb '#CC79A7' dt 1 lw 1.5 pt 3"},
        {"futex", "lc rgb '#CC79A7' dt 4 lw 1.5 pt 13"},
        {"idle", "lc rgb '#D55E00' dt 2 lw 2 pt 5"},
        {"poll", "lc rgb '#D55E00' dt 4 lw 2 pt 11"},
        {"shmd", "lc rgb '#D55E00' dt 1 lw 3 pt 7"}, /* last: on top */
};

enum { N_STYLES = sizeof(styles) / sizeof(styles[0]) };

/* Rows that stand in one picture beside each other. */
struct panel {
        const struct row *like; /* the first of them */
        const struct row *rows;
        uint32_t n_rows;
        double floor_ns; /* NAN: none */
};

static bool is_publish(const struct row *row)
{
        return strcmp(row->bench, "publish") == 0 || strcmp(row->bench, "publish-paced") == 0;
}

/* Lines of `publish` are named for these, all others for their transport. */
static bool wait_of_readers(const char *name)
{
        return strcmp(name, "idle") == 0 || strcmp(name, "poll") == 0;
}

/* What a line of a panel is named for, and what it goes over. */
static const char *line_of(const struct row *row)
{
        return is_publish(row) ? row->wait : row->transport;
}

static uint64_t place_of(const struct row *row)
{
        return is_publish(row) ? row->subscribers : row->payload;
}

static bool same_text(const char *a, const char *b)
{
        return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool plottable(const struct row *row)
{
        return (is_publish(row) || strcmp(row->bench, "latency") == 0) && place_of(row) &&
               !isnan(row->figures.p50_ns);
}

static bool belongs(const struct panel *panel, const struct row *row)
{
        const struct row *like = panel->like;

        return plottable(row) && strcmp(row->bench, like->bench) == 0 &&
               memcmp(row->cpus, like->cpus, sizeof(row->cpus)) == 0 &&
               same_text(row->touch, like->touch) &&
               (is_publish(row) ? row->payload == like->payload : same_text(row->wait, like->wait));
}

static int by_value(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

/* The different places on the x axis, in order. @return how many. */
static uint32_t places_of(const struct panel *panel, uint64_t places[VALUES_MAX])
{
        uint32_t n = 0;

        for (uint32_t r = 0; r < panel->n_rows; r++) {
                uint32_t i = 0;

                if (!belongs(panel, &panel->rows[r]))
                        continue;
                while (i < n && places[i] != place_of(&panel->rows[r]))
                        i++;
                if (i == n && n < VALUES_MAX)
                        places[n++] = place_of(&panel->rows[r]);
        }
        qsort(places, n, sizeof(*places), by_value);
        return n;
}

static bool has_line(const struct panel *panel, const char *name)
{
        for (uint32_t r = 0; r < panel->n_rows; r++) {
                if (belongs(panel, &panel->rows[r]) && !strcmp(line_of(&panel->rows[r]), name))
                        return true;
        }
        return false;
}

static uint32_t lines_of(const struct panel *panel)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < N_STYLES; i++)
                n += has_line(panel, styles[i].transport);
        return n;
}

static double floor_of(const struct panel *panel)
{
        double *floors = calloc(panel->n_rows, sizeof(*floors)), middle;
        uint32_t n = 0;

        for (uint32_t r = 0; r < panel->n_rows && floors; r++) {
                if (belongs(panel, &panel->rows[r]) && !isnan(panel->rows[r].figures.floor_p50_ns))
                        floors[n++] = panel->rows[r].figures.floor_p50_ns;
        }
        middle = middle_of(floors, n);
        free(floors);
        return middle;
}

/*
 * All groups of rows; but where there are some with three places on their x axis and two lines,
 * only these: what has fewer reads better in a table.
 */
static uint32_t panels_find(struct panel panels[PANELS_MAX], const struct row *rows,
                            uint32_t n_rows)
{
        uint32_t n = 0, n_full = 0;

        for (uint32_t r = 0; r < n_rows; r++) {
                uint32_t i = 0;

                while (i < n && !belongs(&panels[i], &rows[r]))
                        i++;
                if (plottable(&rows[r]) && i == n && n < PANELS_MAX)
                        panels[n++] = (struct panel){&rows[r], rows, n_rows, NAN};
        }
        for (uint32_t i = 0; i < n; i++) {
                uint64_t places[VALUES_MAX];

                panels[i].floor_ns = floor_of(&panels[i]);
                if (places_of(&panels[i], places) > 2 && lines_of(&panels[i]) > 1)
                        panels[n_full++] = panels[i];
        }
        return n_full ? n_full : n;
}

/* ---- telling gnuplot --------------------------------------------------------------------- */

static void text_put(FILE *script, const char *text)
{
        for (; *text; text++)
                fputs(*text == '\'' ? "''" : (char[]){*text, '\0'}, script);
}

static void header_put(FILE *script, const struct report *report, const char *path, uint32_t width,
                       uint32_t height)
{
        const struct machine *m = &report->machine;

        fprintf(script,
                "set encoding utf8\nset micro\n"
                "set terminal svg size %u,%u dynamic rounded font 'sans-serif,13' "
                "background rgb 'white'\n"
                "set output '",
                width, height);
        text_put(script, path);
        fprintf(script,
                "'\n"
                "set label 1 '%s, Linux %s, %s' noenhanced at screen 0.99, screen %.4f right "
                "font 'sans-serif,11'\n",
                m->cpu[0] ? m->cpu : m->architecture, m->kernel, report->began, 10.0 / height);
        fprintf(script, "set grid lc rgb '#dddddd' lt 1 lw 0.5\nset border lw 0.7\n"
                        "set format y '%%.0s %%cs'\nset pointsize 0.6\n");
}

static void axis_put(FILE *script, const struct panel *panel)
{
        uint64_t places[VALUES_MAX];
        uint32_t n = places_of(panel, places);
        char text[24];

        fputs("set logscale x 2\nset logscale y 10\nset xtics (", script);
        for (uint32_t i = 0; i < n; i++) {
                if (is_publish(panel->like))
                        snprintf(text, sizeof(text), "%llu", (unsigned long long)places[i]);
                else
                        report_bytes(text, places[i]);
                fprintf(script, "%s'%s' %llu", i ? ", " : "", text, (unsigned long long)places[i]);
        }
        fprintf(script, ")\nset xrange [%g:%g]\n", (double)places[0] / 1.5,
                (double)places[n - 1] * 1.5);
}

static void title_put(FILE *script, const struct panel *panel)
{
        const struct row *row = panel->like;
        char bytes[24];

        if (is_publish(row))
                fprintf(script,
                        "set title '%s of %s bytes' noenhanced\n"
                        "set xlabel 'subscribers'\nset ylabel 'one publish'\n",
                        row->bench, report_bytes(bytes, row->payload));
        else
                fprintf(script,
                        "set title 'latency --wait %s --touch %s%s' noenhanced\n"
                        "set xlabel 'payload'\nset ylabel 'one way, p50'\n",
                        row->wait, row->touch,
                        row->cpus[0] == row->cpus[1] ? ", both on one CPU" : "");
}

static void data_put(FILE *script, const struct panel *panel, const char *line)
{
        uint64_t places[VALUES_MAX];
        uint32_t n = places_of(panel, places);

        for (uint32_t i = 0; i < n; i++) {
                for (uint32_t r = 0; r < panel->n_rows; r++) {
                        const struct row *row = &panel->rows[r];

                        if (belongs(panel, row) && place_of(row) == places[i] &&
                            strcmp(line_of(row), line) == 0)
                                fprintf(script, "%llu %.6g\n", (unsigned long long)places[i],
                                        row->figures.p50_ns / NS_PER_S);
                }
        }
}

static void panel_put(FILE *script, const struct panel *panel, uint32_t index)
{
        const char *comma = "plot ";

        for (uint32_t i = 0; i < N_STYLES; i++) {
                fprintf(script, "$d%u_%u << end\n", index, i);
                data_put(script, panel, styles[i].transport);
                fputs("end\n", script);
        }
        axis_put(script, panel);
        title_put(script, panel);
        if (!isnan(panel->floor_ns)) {
                fprintf(script, "%s%.6g with lines lc rgb '#000000' dt 2 lw 1.5 notitle", comma,
                        panel->floor_ns / NS_PER_S);
                comma = ", \\\n  ";
        }
        for (uint32_t i = 0; i < N_STYLES; i++) {
                if (!has_line(panel, styles[i].transport))
                        continue;
                fprintf(script, "%s$d%u_%u using 1:2 with linespoints %s notitle", comma, index, i,
                        styles[i].look);
                comma = ", \\\n  ";
        }
        fputc('\n', script);
}

/* One for all panels: a plot of nothing. */
static void legend_put(FILE *script, const struct panel *panels, uint32_t n_panels,
                       uint32_t columns)
{
        fputs("unset title\nunset xlabel\nunset ylabel\nunset border\nunset xtics\nunset ytics\n"
              "unset grid\nunset logscale\nset xrange [0:1]\nset yrange [0:1]\n"
              "set key center center horizontal width 2 samplen 4 noenhanced\n",
              script);
        fprintf(script,
                "set key maxcols %u\n"
                "plot NaN with lines lc rgb '#000000' dt 2 lw 1.5 title 'floor'",
                columns);
        for (uint32_t i = N_STYLES; i-- > 0;) {
                bool there = false;

                for (uint32_t p = 0; p < n_panels; p++)
                        there |= has_line(&panels[p], styles[i].transport);
                if (there)
                        fprintf(script, ", \\\n  NaN with linespoints %s title '%s%s'",
                                styles[i].look, styles[i].transport,
                                wait_of_readers(styles[i].transport) ? " readers" : "");
        }
        fputc('\n', script);
}

static void place_put(FILE *script, double left, double bottom, double width, double height)
{
        fprintf(script, "set origin %.4f, %.4f\nset size %.4f, %.4f\n", left, bottom, width,
                height);
}

/* The legend goes where a last panel would leave room, or else below all. */
static void results_put(FILE *script, const struct report *report, const struct panel *panels,
                        uint32_t n_panels)
{
        uint32_t columns = n_panels < COLUMNS ? n_panels : COLUMNS;
        uint32_t n_lines = (n_panels + columns - 1) / columns;
        bool beside = n_panels < n_lines * columns;
        uint32_t below = FOOT_HEIGHT + (beside ? 0 : LEGEND_HEIGHT);
        uint32_t width = columns * PANEL_WIDTH, height = n_lines * PANEL_HEIGHT + below;
        double one_wide = 1.0 / columns, one_high = (double)PANEL_HEIGHT / height;

        header_put(script, report, report->outputs->plot, width, height);
        fputs("set multiplot\n", script);
        for (uint32_t i = 0; i < n_panels; i++) {
                place_put(script, i % columns * one_wide, 1 - (i / columns + 1) * one_high,
                          one_wide, one_high);
                panel_put(script, &panels[i], i);
                fputs("unset label 1\n", script);
        }
        if (beside)
                place_put(script, 1 - one_wide, (double)below / height, one_wide, one_high);
        else
                place_put(script, 0, (double)FOOT_HEIGHT / height, 1,
                          (double)LEGEND_HEIGHT / height);
        legend_put(script, panels, n_panels, beside ? 2 : 5);
        fputs("unset multiplot\n", script);
}

/*
 * The floors beside slices that were kept, or that were not. A slice that was kept is a stroke from
 * the floor before it to the floor after it: a blank line ends each. @return how many.
 */
static uint32_t floors_put(FILE *script, const struct track *track, bool kept)
{
        uint32_t n = 0;

        fprintf(script, "$%s << end\n", kept ? "kept" : "discarded");
        for (uint32_t i = 0; i < track->n_points; i++) {
                const struct track_point *point = &track->points[i];

                if (point->kept != kept)
                        continue;
                fprintf(script, "%.3f %.6g%s\n",
                        (double)(point->at_ns - track->start_ns) / NS_PER_S,
                        point->floor_ns / NS_PER_S, kept && n % 2 ? "\n" : "");
                n++;
        }
        fputs("end\n", script);
        return n;
}

static void states_put(FILE *script, const struct report *report)
{
        uint32_t n_kept, n_discarded;

        header_put(script, report, report->outputs->states, 2 * PANEL_WIDTH, PANEL_HEIGHT);
        n_kept = floors_put(script, report->track, true);
        n_discarded = floors_put(script, report->track, false);
        fprintf(script,
                "set title 'the floor before and after each slice'\n"
                "set xlabel 'seconds since the start'\nset ylabel 'one way, p50'\n"
                "set logscale y 10\nset bmargin 5\n"
                "set ytics add ('20 ns' 20e-9, '50 ns' 50e-9, '200 ns' 200e-9, '500 ns' 500e-9)\n"
                "set key outside top right horizontal\n"
                "plot %s with lines lw 3 lc rgb '#0072B2' title 'slice kept', \\\n"
                "  %s with points pt 8 ps 0.9 lw 1.2 lc rgb '#D55E00' title 'slice discarded'\n",
                n_kept ? "$kept using 1:2" : "keyentry",
                n_discarded ? "$discarded using 1:2" : "keyentry");
}

/* ---- having it drawn --------------------------------------------------------------------- */

static bool gnuplot_is_there(void)
{
        const char *path = getenv("PATH");
        char *list = path ? strdup(path) : NULL, *position = NULL;
        bool there = false;

        for (char *place = list ? strtok_r(list, ":", &position) : NULL; place && !there;
             place = strtok_r(NULL, ":", &position)) {
                char program[4096];

                snprintf(program, sizeof(program), "%s/gnuplot", place);
                there = access(program, X_OK) == 0;
        }
        free(list);
        return there;
}

int report_plot_check(const char *option, const char *path)
{
        FILE *file;

        if (!gnuplot_is_there()) {
                fprintf(stderr,
                        "shmd-bench: --%s: there is no gnuplot in $PATH; it is in the "
                        "package gnuplot-nox of Debian, gnuplot elsewhere\n",
                        option);
                return -ENOENT;
        }
        file = fopen(path, "a");
        if (!file) {
                int error = errno;

                fprintf(stderr, "shmd-bench: --%s %s: %s\n", option, path, strerror(error));
                return -error;
        }
        fclose(file);
        return 0;
}

/* Ends the script. @return 0 or -EIO. */
static int drawn(const char *option, FILE *gnuplot)
{
        int result = ferror(gnuplot) ? -EIO : 0;

        if (pclose(gnuplot) != 0)
                result = -EIO;
        if (result < 0)
                fprintf(stderr, "shmd-bench: --%s: gnuplot failed\n", option);
        return result;
}

static FILE *gnuplot_start(const char *option)
{
        FILE *gnuplot = popen("gnuplot", "we");

        if (!gnuplot)
                fprintf(stderr, "shmd-bench: --%s: gnuplot: %s\n", option, strerror(errno));
        return gnuplot;
}

int report_plot(const struct report *report, const struct row *rows, uint32_t n_rows)
{
        struct panel panels[PANELS_MAX];
        uint32_t n_panels = panels_find(panels, rows, n_rows);
        FILE *gnuplot;

        if (n_panels == 0) {
                fprintf(stderr, "shmd-bench: --plot: there is nothing to draw\n");
                return -ENODATA;
        }
        gnuplot = gnuplot_start("plot");
        if (!gnuplot)
                return -EIO;
        results_put(gnuplot, report, panels, n_panels);
        return drawn("plot", gnuplot);
}

int report_plot_states(const struct report *report)
{
        FILE *gnuplot;

        if (report->track->n_points == 0) {
                fprintf(stderr, "shmd-bench: --states: no floor was measured\n");
                return -ENODATA;
        }
        gnuplot = gnuplot_start("states");
        if (!gnuplot)
                return -EIO;
        states_put(gnuplot, report);
        return drawn("states", gnuplot);
}
